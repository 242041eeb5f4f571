"""What the evaluation shows of texts."""

import struct
from contextlib import chdir
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from darkroom.core import arrays
from darkroom.evaluate import class_plots, metrics, text_examples
from darkroom.evaluate.label_errors import table
from darkroom.figures import fonts
from darkroom.models.inference import probabilities
from tests import texts


def scores(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K) and labels (N,) with some mistakes."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), 6)
    return (2 * np.eye(classes)[labels] + random.normal(size=(len(labels), classes))).astype(np.float32), labels


def test_the_folder_has_tables_and_figures(tmp_path: Path):
    texts.make(tmp_path)
    with chdir(tmp_path):
        test = arrays.read_split("data/arrays", "test")
        classes = arrays.read_manifest("data/arrays").classes
        logits = -np.eye(2, dtype=np.float32)[test.labels]  # all are wrong
        written = metrics.predictions(probabilities(logits), test.labels, test.ids, classes)
        suspects = table(probabilities(logits), test.labels, test.ids, classes)
        metrics.per_class(logits, test.labels, ("nan", "1")).to_csv("per_class.csv", index=False)
        metrics.confused_pairs(test.labels, logits.argmax(1), ("nan", "1")).to_csv("confused_pairs.csv", index=False)
        text_examples.show(Path(), test, logits.argmax(1), written, suspects, classes, 4)
        given = arrays.read_texts("data/arrays", "test")
    found = pd.read_csv(tmp_path / "mistakes.csv").set_index("id")["text"]
    assert found.loc[test.ids.tolist()].tolist() == given
    assert len(pd.read_csv(tmp_path / "suspect_texts.csv")) == len(suspects)
    for name in ("confused_pairs.png", "most_difficult.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("classes", [2, 77, 151])
def test_a_figure_has_at_most_limit_rows(classes: int):
    logits, labels = scores(classes)
    names = [f"$\\alpha$_{number}_{'x' * 60}" for number in range(classes)]  # not to be read as a formula
    pairs = class_plots.confused_pairs(metrics.confused_pairs(labels, logits.argmax(1), names))
    difficult = class_plots.most_difficult(metrics.per_class(logits, labels, names))
    for figure in (pairs, difficult):
        figure.canvas.draw()
        rows = [text for text in figure.axes[0].texts if text.get_ha() == "right"]
        assert len(rows) <= class_plots.LIMIT
        boxes = [text.get_window_extent() for text in rows]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
        assert all(one.y0 >= other.y1 - 1 for one, other in pairwise(boxes))


def test_no_mistakes_and_no_examples():
    logits, labels = np.eye(3, dtype=np.float32)[[0, 1]], np.array([0, 1])
    names = ["a", "b", "untested"]
    class_plots.confused_pairs(metrics.confused_pairs(labels, logits.argmax(1), names)).canvas.draw()
    figure = class_plots.most_difficult(metrics.per_class(logits, labels, names))
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b"]


def test_missing_letters_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    from darkroom.figures import drawing

    monkeypatch.setattr(fonts, "_installed", list)
    monkeypatch.setattr(fonts, "_named", set())
    logits, labels = np.array([[0.0, 1.0]], np.float32), np.array([0])
    pairs = metrics.confused_pairs(labels, logits.argmax(1), ["挂失", "查询"])
    drawing.save(class_plots.confused_pairs(pairs), tmp_path / "pairs.png")
    assert "fonts-noto-cjk" in capsys.readouterr().err
    width, height = struct.unpack(">II", (tmp_path / "pairs.png").read_bytes()[16:24])
    assert width == 1000 and height > 100
