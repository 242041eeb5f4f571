import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from darkroom.evaluate import plots
from darkroom.figures import drawing

ROOT = Path(__file__).parents[2]
CLASSES = ("shirt", "$coat_", "a name that is far too long for its place")


def gallery(predicted: list[int], limit: int = 25, channels: int = 1) -> Figure:
    """Mistakes among one image per prediction. All labels are 0, confidence increases, and image i has grey level i."""
    n = len(predicted)
    images = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1) * np.ones((1, 8, 6, channels), dtype=np.uint8)
    confidence = np.linspace(0.5, 0.9, n)
    return plots.mistakes(images, np.zeros(n, dtype=np.int64), np.array(predicted), confidence, CLASSES, limit)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def shown(figure: Figure) -> list[int]:
    """The grey level of each image."""
    return [int(axes.images[0].get_array().flat[0]) for axes in figure.axes]


def test_most_confident_mistakes_come_first():
    figure = gallery([1, 0, 2, 1, 0], limit=2)
    assert shown(figure) == [3, 2]
    assert re.findall(r"\d+", texts(figure)[0]) == ["5", "2", "3"]  # images, shown, mistakes
    assert texts(figure)[2:] == ["shirt", "→ $coat_", "80.0%", "shirt", "→ a name that is f…", "70.0%"]


def test_a_wide_name_is_clipped(tmp_path: Path):
    images = np.full((1, 8, 8, 1), 255, dtype=np.uint8)
    zeros, ones = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64)
    drawing.save(plots.mistakes(images, zeros, ones, np.ones(1), ("W" * 17, "b"), 1), tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    columns = np.flatnonzero((pixels[100:] < 250).any(axis=0))  # below the title
    assert columns.min() >= 29
    assert columns.max() <= 156


def test_without_mistakes_there_is_only_a_title():
    figure = gallery([0, 0])
    assert len(texts(figure)) == 1 and "No mistakes" in texts(figure)[0]
    assert not figure.axes


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_gallery_has_the_same_bytes(tmp_path: Path, channels: int):
    for name in ("a.png", "b.png"):
        drawing.save(gallery([1, 2, 1, 0], channels=channels), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def is_inside(part, figure: Figure) -> bool:
    box = part.get_window_extent().transformed(figure.transFigure.inverted())
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1


@pytest.mark.parametrize("count", [1, 25, 60])
def test_all_images_and_captions_are_inside(count: int):
    figure = gallery([2] * count, limit=100)
    figure.draw_without_rendering()
    assert len(figure.axes) == count
    assert all(is_inside(part, figure) for part in [*figure.axes, *figure.texts])


SUSPECTS = pd.DataFrame({"id": ["c", "a"], "label": ["cat", "dog"], "suggested": ["dog", "cat"], "margin": [0.5, 0.25]})


@pytest.mark.parametrize(
    ("found", "limit", "expected"), [(SUSPECTS, 1, [2]), (SUSPECTS, 5, [2, 0]), (SUSPECTS[:0], 5, [])]
)
def test_suspect_labels_keep_their_order(found: pd.DataFrame, limit: int, expected: list[int]):
    figure = plots.suspects(np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1), np.array(["a", "b", "c"]), found, limit)
    assert shown(figure) == expected
    numbers = ["3", str(len(expected)), "2"] if expected else ["3"]  # images, shown, suspects
    assert re.findall(r"\d+", texts(figure)[0]) == numbers
    assert texts(figure)[2:5] == (["cat", "→ dog", "+0.50"] if expected else [])


def test_title_of_many_suspect_labels_is_inside():
    ids = np.array([f"{number:05}" for number in range(60_000)])
    found = pd.DataFrame({"id": ids, "label": "cat", "suggested": "dog", "margin": 0.5})
    figure = plots.suspects(np.zeros((60_000, 1, 1, 1), np.uint8), ids, found, 25)
    figure.draw_without_rendering()
    assert all(is_inside(text, figure) for text in figure.texts)


def test_plots_page_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], check=True)
    for name in ("config", "plots_page.html"):
        shutil.copy(ROOT / ".dvc" / name, ".dvc")
    Path("loss.tsv").write_text("step\tloss\n0\t2.5\n1\t1.5\n")
    Path("dvc.yaml").write_text("plots:\n- loss.tsv:\n    x: step\n    y: loss\n")
    subprocess.run([*dvc, "plots", "show", "-q"], check=True)
    page = Path("dvc_plots/index.html").read_text(encoding="utf-8")
    assert re.findall(r'<script id="([a-z-]+)">', page) == ["vega", "vega-lite", "vega-embed"]
    assert page.index("vegaEmbed('#loss_tsv'") > page.index('<script id="vega-embed">')
    assert not re.search(r"""<(script|link|img|iframe)[^>]*\s(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert (ROOT / ".dvc/plots_page.html").stat().st_size < 1_000_000
