from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from darkroom.explain import figure
from darkroom.explain.attribution import METHODS
from darkroom.figures import drawing
from tests.explain.toys import noise, probabilities

CLASSES = ("shirt", "a name that is far too long for its place", "$coat_")


def draw(images: np.ndarray, methods: list[str]) -> Figure:
    """Three images: a correct prediction, an incorrect one, and another correct one."""
    maps = {name: np.random.default_rng(1).normal(size=images.shape[:3]).astype(np.float32) for name in methods}
    maps["occlusion"][0] = 0  # no window changes the prediction
    predicted = probabilities([0.9, 0.8, 0.4], [0, 2, 1])
    scores = {name: {"deletion": 0.25, "insertion": 0.5} for name in (*methods, "random")}
    return figure.draw(images, np.array([0, 1, 1]), predicted, maps, scores, CLASSES)


def test_every_method_has_a_title():
    assert list(figure.TITLES) == list(METHODS)


def test_a_row_has_the_image_its_maps_and_the_prediction():
    drawn = draw(noise(), list(METHODS))
    texts = [text.get_text() for text in drawn.texts]
    scores = "↓ 0.25  ↑ 0.50"
    assert len(drawn.axes) == 3 * 4
    assert texts[1].endswith(scores)  # of a random order
    assert texts[2:5] == [f"integrated\ngradients\n{scores}", f"Grad-CAM\n{scores}", f"occlusion\n{scores}"]
    assert texts[5:8] == ["shirt", "→ shirt", "90.0%"]
    colours = [text.get_color() for text in drawn.texts if text.get_text().startswith("→")]
    assert colours == [drawing.CORRECT, drawing.INCORRECT, drawing.CORRECT]
    assert "Grad-CAM" not in texts[1]


def test_legend_says_if_there_is_no_grad_cam():
    drawn = draw(noise(), ["integrated_gradients", "occlusion"])
    assert len(drawn.axes) == 3 * 3
    assert "No Grad-CAM" in drawn.texts[1].get_text()


@pytest.mark.parametrize("methods", [list(METHODS), ["integrated_gradients", "occlusion"]])
@pytest.mark.parametrize("channels", [1, 3])
def test_everything_is_inside(channels: int, methods: list[str]):
    drawn = draw(noise(channels=channels), methods)
    drawn.draw_without_rendering()
    for part in [*drawn.axes, *drawn.texts]:
        box = part.get_window_extent().transformed(drawn.transFigure.inverted())
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1


def test_legend_ends_above_the_titles_of_the_columns():
    drawn = draw(noise(), ["integrated_gradients", "occlusion"])
    drawn.draw_without_rendering()
    legend, *titles = (text.get_window_extent() for text in drawn.texts[1:4])
    assert all(title.y1 < legend.y0 for title in titles)


def test_the_same_figure_has_the_same_bytes(tmp_path: Path):
    for name in ("a.png", "b.png"):
        drawing.save(draw(noise(), list(METHODS)), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_wide_name_ends_before_the_image(tmp_path: Path):
    random = {"random": {"deletion": 0.5, "insertion": 0.5}}
    drawn = figure.draw(noise(1), np.array([0]), np.ones((1, 1)), {}, random, ("W" * 40,))
    drawing.save(drawn, tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("L"))[206:]  # below the titles
    assert (pixels[:, :170] < 250).any()
    assert (pixels[:, 171:179] == 255).all()
