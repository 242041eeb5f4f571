import io
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
    """Of as many pictures as predictions; all of class 0, each surer than the one before."""
    n = len(predicted)
    images = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1) * np.ones((1, 8, 6, channels), dtype=np.uint8)
    return plots.mistakes(
        images, np.zeros(n, dtype=np.int64), np.array(predicted), np.linspace(0.5, 0.9, n), CLASSES, limit
    )


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_the_most_confident_mistakes_come_first():
    figure = gallery([1, 0, 2, 1, 0], limit=2)
    assert [int(axes.images[0].get_array().flat[0]) for axes in figure.axes] == [3, 2]
    assert texts(figure)[0] == "Mistakes on 5 test pictures: the 2 most confident of 3"
    assert texts(figure)[2:] == ["shirt", "→ $coat_", "80.0%", "shirt", "→ a name that is f…", "70.0%"]


def test_a_wide_name_is_cut_at_its_place(tmp_path: Path):
    images, zeros, ones = (
        np.full((1, 8, 8, 1), 255, dtype=np.uint8),
        np.zeros(1, dtype=np.int64),
        np.ones(1, dtype=np.int64),
    )
    drawing.save(plots.mistakes(images, zeros, ones, np.ones(1), ("W" * 17, "b"), 1), tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    columns = np.flatnonzero((pixels[100:] < 250).any(axis=0))  # below the title
    assert columns.min() >= 29
    assert columns.max() <= 156


def test_no_mistake_is_said():
    figure = gallery([0, 0])
    assert texts(figure) == ["No mistake on 2 test pictures"]
    assert not figure.axes


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_gallery_has_the_same_bytes(tmp_path: Path, channels: int):
    for name in ("a.png", "b.png"):
        drawing.save(gallery([1, 2, 1, 0], channels=channels), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())) as image:
        assert image.format == "PNG" and "Software" not in image.info


@pytest.mark.parametrize("count", [1, 25, 60])
def test_every_picture_and_caption_lies_inside(count: int):
    figure = gallery([2] * count, limit=100)
    figure.draw_without_rendering()
    assert len(figure.axes) == count
    for part in [*figure.axes, *figure.texts]:
        box = part.get_window_extent().transformed(figure.transFigure.inverted())
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1


def test_the_plots_page_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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


SUSPECTS = pd.DataFrame({"id": ["c", "a"], "label": ["cat", "dog"], "suggested": ["dog", "cat"], "margin": [0.5, 0.25]})


@pytest.mark.parametrize(
    ("found", "limit", "shown"), [(SUSPECTS, 1, [2]), (SUSPECTS, 5, [2, 0]), (SUSPECTS[:0], 5, [])]
)
def test_suspect_labels_are_shown_in_their_order(found: pd.DataFrame, limit: int, shown: list[int]):
    figure = plots.suspects(np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1), np.array(["a", "b", "c"]), found, limit)
    some = f"Labels of 3 pictures that are probably wrong: {len(shown)} of 2"
    assert figure.texts[0].get_text() == (some if shown else "No suspect label among 3 pictures")
    assert [int(axes.images[0].get_array().flat[0]) for axes in figure.axes if axes.images] == shown
