from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from darkroom.explain import figure
from darkroom.explain.attribution import METHODS
from darkroom.explain.selection import Shown
from darkroom.figures import drawing
from tests.explain.toys import noise, probabilities

STATEMENTS = ("Deletion: no method.", "Insertion: a long statement, which does not fit in one line. " * 3)
CLASSES = ("shirt", "a name that is far too long for its place", "$coat_")


def draw(images: np.ndarray, methods: list[str]) -> Figure:
    """Three images: a correct prediction, an incorrect one, and another correct one."""
    maps = {name: np.random.default_rng(1).normal(size=images.shape[:3]).astype(np.float32) for name in methods}
    maps["occlusion"][0] = 0  # no window changes the prediction
    predicted = probabilities([0.9, 0.8, 0.4], [0, 2, 1])
    kinds = ["confident and correct", "confident and incorrect", "confident and incorrect"]
    shown = Shown(np.arange(3), predicted, kinds, maps, scores(methods), STATEMENTS)
    return figure.draw(images, np.array([0, 1, 1]), shown, CLASSES)


def scores(methods: list[str], low: float | None = 0.2, high: float | None = 0.3) -> dict[str, float | None]:
    """All areas are 0.25."""
    bounds = {"": 0.25, "_low": low, "_high": high}
    names = (f"{method}_{curve}" for method in (*methods, "random") for curve in ("deletion", "insertion"))
    return {"faithfulness_images": 1200} | {name + end: value for name in names for end, value in bounds.items()}


def draw_one(name: str, known: dict) -> Figure:
    """One uncertain image of a class, without maps."""
    return figure.draw(
        noise(1), np.array([0]), Shown(np.array([0]), np.ones((1, 1)), ["uncertain"], {}, known, ()), (name,)
    )


def test_a_row_has_the_image_its_maps_and_the_prediction():
    drawn = draw(noise(), list(METHODS))
    texts = [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in drawn.texts]
    above = "↓ 0.25 ± 0.05\n↑ 0.25 ± 0.05"
    assert len(drawn.axes) == 3 * 4
    legend = texts[1].replace("\n", " ")
    assert "↓ 0.25 ± 0.05  ↑ 0.25 ± 0.05" in legend and "1,200 random test images" in legend  # of a random order
    assert STATEMENTS[0] in legend and STATEMENTS[1].strip() in legend and "Grad-CAM" not in legend
    assert texts[2:5] == [f"integrated\ngradients\n{above}", f"Grad-CAM\n{above}", f"occlusion\n{above}"]
    assert texts[5:7] == ["Confident and correct", "Confident and incorrect"]
    assert texts[7:10] == ["shirt", "→ shirt", "90.0%"]
    colours = [text.get_color() for text in drawn.texts if text.get_text().startswith("→")]
    assert colours == [drawing.CORRECT, drawing.INCORRECT, drawing.CORRECT]


def test_unknown_intervals_are_left_out():
    unknown = scores([], None, None)
    drawn = draw_one("a", unknown)
    assert "↓ 0.25 ↑ 0.25" in " ".join(drawn.texts[1].get_text().split())


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


def test_legend_titles_kinds_and_images_do_not_overlap():
    drawn = draw(noise(), ["integrated_gradients", "occlusion"])
    drawn.draw_without_rendering()
    legend, *titles, first = (text.get_window_extent() for text in drawn.texts[1:5])
    assert all(first.y1 < title.y0 and title.y1 < legend.y0 for title in titles)
    image = drawn.axes[0].get_window_extent()
    assert image.y1 < first.y0


def test_the_same_figure_has_the_same_bytes(tmp_path: Path):
    for name in ("a.png", "b.png"):
        drawing.save(draw(noise(), list(METHODS)), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_wide_name_ends_before_the_image(tmp_path: Path):
    drawn = draw_one("W" * 40, scores([]))
    drawing.save(drawn, tmp_path / "a.png")
    below = round((1 - drawn.axes[0].get_position().y1) * drawn.bbox.height)
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("L"))[below:]  # below the titles
    assert (pixels[:, :170] < 250).any()
    assert (pixels[:, 171:179] == 255).all()
