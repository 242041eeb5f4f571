"""Draw attribution maps over the images."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from darkroom.core.spelling import isolated
from darkroom.explain.faithfulness import RANDOM
from darkroom.explain.selection import Shown
from darkroom.explain.verdict import TITLES
from darkroom.figures.drawing import CORRECT, INCORRECT, INK, clip
from darkroom.figures.images import to_rgb

_TILE, _SIDE = 1.2, 1.12  # inches: distance between images, and their side
_CAPTION, _MARGIN, _KIND, _LINE = 1.5, 0.3, 0.42, 0.15  # inches; _KIND: above a kind of images
_CHARACTERS = 14  # per inch of a line of text
_LEGEND = """Left: label, → predicted class, confidence. Orange pixels support the predicted class, purple pixels \
oppose it; each map has its own scale.
Above the maps: mean probability of the predicted class while pixels are blurred (↓, lower is better) or shown \
(↑, higher is better) in the order of the map. Measured on {images:,} random test images, not on these; ± is the 95 % \
confidence interval. In a random order of the pixels: {random}."""


def draw(images: np.ndarray, labels: np.ndarray, shown: Shown, classes: Sequence[str]) -> Figure:
    """One row per image: its label, the prediction, the image, and over it the map of each method.

    `images` (n, H, W, 1 or 3) uint8 and `labels` (n,) int64 are those of the examples that are `shown`.
    """
    maps, scores = shown.maps, shown.scores
    width = 2 * _MARGIN + _CAPTION + (1 + len(maps)) * _TILE
    legend = _LEGEND.format(images=scores["faithfulness_images"], random="  ".join(_scores(scores, RANDOM)))
    paragraphs = [*legend.split("\n"), *shown.notes]
    if "grad_cam" not in maps:
        paragraphs.append("No Grad-CAM: this network has no feature map.")
    lines = [line for text in paragraphs for line in textwrap.wrap(text, int((width - 2 * _MARGIN) * _CHARACTERS))]
    header = 0.46 + (len(lines) + 5) * _LINE  # the title, the legend, and the titles of the columns
    starts = [row for row, kind in enumerate(shown.kinds) if row == 0 or kind != shown.kinds[row - 1]]
    tops = [header + row * _TILE + sum(start <= row for start in starts) * _KIND for row in range(len(images))]
    height = (tops[-1] + _TILE if tops else header) + _MARGIN
    figure = Figure(figsize=(width, height), dpi=100)

    def write(x: float, y: float, text: str, **style: object) -> Text:
        defaults = {"size": 9, "color": INK, "va": "top", "parse_math": False}
        return figure.text(x / width, 1 - y / height, text, **defaults | style)

    def tile(row: int, column: int) -> Axes:
        left, top = _MARGIN + _CAPTION + column * _TILE, tops[row]
        axes = figure.add_axes((left / width, 1 - (top + _SIDE) / height, _SIDE / width, _SIDE / height))
        axes.set_axis_off()
        return axes

    write(_MARGIN, 0.2, "Which pixels the network uses", size=12, weight="bold")
    write(_MARGIN, 0.46, "\n".join(lines))
    for column, name in enumerate(maps, 1):
        middle = _MARGIN + _CAPTION + column * _TILE + _SIDE / 2
        title = "\n".join([TITLES[name].replace(" ", "\n"), *_scores(scores, name)])
        write(middle, header + 0.15, title, ha="center", va="bottom")
    for row in starts:
        write(_MARGIN, tops[row] - 0.2, shown.kinds[row].capitalize(), weight="bold")
    for row, (image, label, answer) in enumerate(zip(images, labels, shown.probabilities, strict=True)):
        predicted = answer.argmax()
        colour = CORRECT if predicted == label else INCORRECT
        texts = (
            (classes[label], INK),
            (f"→ {isolated(classes[predicted])}", colour),
            (f"{answer[predicted]:.1%}", INK),
        )
        for line, (text, colour) in enumerate(texts):
            caption = write(_MARGIN, tops[row] + 0.3 + 0.18 * line, text, color=colour)
            clip(caption, figure, 0, (_MARGIN + _CAPTION - 0.1) / width)
        tile(row, 0).imshow(to_rgb(image))
        for column, values in enumerate(maps.values(), 1):
            _overlay(tile(row, column), image, values[row])
    return figure


def _scores(scores: Mapping[str, Any], method: str) -> list[str]:
    """The areas under the two curves with half the width of their confidence intervals, if these are known."""
    found = []
    for arrow, curve in (("↓", "deletion"), ("↑", "insertion")):
        name = f"{method}_{curve}"
        low, high = scores[f"{name}_low"], scores[f"{name}_high"]
        text = f"{arrow} {scores[name]:.2f}" + ("" if low is None else f" ± {(high - low) / 2:.2f}")
        found.append(text.replace(" ", "\N{NO-BREAK SPACE}"))
    return found


def _overlay(axes: Axes, image: np.ndarray, values: np.ndarray) -> None:
    """Draw the map `values` (H, W) over the image (H, W, C) uint8 in pale grey."""
    strength = np.abs(values)
    limit = np.percentile(strength, 99) or 1  # not the maximum: a few pixels of integrated gradients exceed all others
    axes.imshow(image.mean(2), cmap="gray", vmin=-500, vmax=255)
    axes.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, alpha=np.sqrt(np.minimum(strength / limit, 1)))
