"""Draw attribution maps over the images."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from darkroom.figures.drawing import CORRECT, INCORRECT, INK, clip
from darkroom.figures.images import to_rgb

TITLES = {"integrated_gradients": "integrated\ngradients", "grad_cam": "Grad-CAM", "occlusion": "occlusion"}

_TILE, _SIDE = 1.2, 1.12  # inches: distance between images, and their side
_CAPTION, _MARGIN, _HEADER = 1.5, 0.3, 2.05  # inches
_LEGEND = """Left: label, → predicted class, confidence. Orange pixels support the predicted
class, purple pixels oppose it; each map has its own scale. Above each map: mean
probability of the predicted class while pixels are blurred (↓ lower is better)
or shown (↑ higher is better) in the order of the map.
In random order: {random}"""


def draw(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    maps: Mapping[str, np.ndarray],
    scores: Mapping[str, Mapping[str, float]],
    classes: Sequence[str],
) -> Figure:
    """One row per image: its label, the prediction, the image, and over it the map of each method.

    `images` (n, H, W, 1 or 3) uint8, `labels` (n,) int64, `probabilities` (n, K), `maps` (n, H, W) of the most probable
    class by method, `scores` as from `faithfulness.areas`.
    """
    width, height = 2 * _MARGIN + _CAPTION + (1 + len(maps)) * _TILE, _HEADER + len(images) * _TILE + _MARGIN
    figure = Figure(figsize=(width, height), dpi=100)

    def write(x: float, y: float, text: str, **style: object) -> Text:
        defaults = {"size": 9, "color": INK, "va": "top", "parse_math": False}
        return figure.text(x / width, 1 - y / height, text, **defaults | style)

    def tile(row: int, column: int) -> Axes:
        left, top = _MARGIN + _CAPTION + column * _TILE, _HEADER + row * _TILE
        axes = figure.add_axes((left / width, 1 - (top + _SIDE) / height, _SIDE / width, _SIDE / height))
        axes.set_axis_off()
        return axes

    above = {name: f"↓ {score['deletion']:.2f}  ↑ {score['insertion']:.2f}" for name, score in scores.items()}
    missing = "" if "grad_cam" in maps else "\nNo Grad-CAM: this network has no feature map."
    write(_MARGIN, 0.2, "Which pixels the network uses", size=12, weight="bold")
    write(_MARGIN, 0.46, _LEGEND.format(random=above["random"]) + missing)
    for column, name in enumerate(maps, 1):
        middle = _MARGIN + _CAPTION + column * _TILE + _SIDE / 2
        write(middle, _HEADER - 0.08, f"{TITLES[name]}\n{above[name]}", ha="center", va="bottom")
    for row, (image, label, answer) in enumerate(zip(images, labels, probabilities, strict=True)):
        predicted = answer.argmax()
        colour = CORRECT if predicted == label else INCORRECT
        lines = ((classes[label], INK), (f"→ {classes[predicted]}", colour), (f"{answer[predicted]:.1%}", INK))
        for line, (text, colour) in enumerate(lines):
            caption = write(_MARGIN, _HEADER + row * _TILE + 0.3 + 0.18 * line, text, color=colour)
            clip(caption, figure, 0, (_MARGIN + _CAPTION - 0.1) / width)
        tile(row, 0).imshow(to_rgb(image))
        for column, values in enumerate(maps.values(), 1):
            _overlay(tile(row, column), image, values[row])
    return figure


def _overlay(axes: Axes, image: np.ndarray, values: np.ndarray) -> None:
    """Draw the map `values` (H, W) over the image (H, W, C) uint8 in pale grey."""
    strength = np.abs(values)
    limit = np.percentile(strength, 99) or 1  # not the maximum: a few pixels of integrated gradients exceed all others
    axes.imshow(image.mean(2), cmap="gray", vmin=-500, vmax=255)
    axes.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, alpha=np.sqrt(np.minimum(strength / limit, 1)))
