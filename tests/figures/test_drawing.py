from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from darkroom.figures import drawing


def make_figure() -> tuple[Figure, object]:
    figure = Figure(figsize=(2, 1), dpi=100)
    return figure, figure.text(0.25, 0.5, "W" * 30, size=12)


def test_saved_figures_are_png_without_the_name_of_the_software(tmp_path: Path):
    figure, _ = make_figure()
    drawing.save(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG" and image.size == (200, 100) and "Software" not in image.info


def test_clipped_text_stays_between_its_bounds(tmp_path: Path):
    figure, text = make_figure()
    drawing.clip(text, figure, 0.25, 0.5)
    drawing.save(figure, tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    columns = np.flatnonzero((pixels < 250).any(axis=0))
    assert 50 <= columns.min() < 60 and 140 < columns.max() <= 150


@pytest.mark.parametrize(
    ("text", "expected"),
    [("abcd", "abcd"), ("abcde", "abc…"), ("", ""), ("挂失", "挂失"), ("挂失卡", "挂…"), ("a挂失", "a挂…")],
)
def test_long_texts_are_shortened(text: str, expected: str):
    assert drawing.shorten(text, 4) == expected
