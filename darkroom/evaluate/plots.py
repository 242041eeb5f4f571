"""Galleries of test images: confident mistakes, and labels that are probably wrong."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from darkroom.core.spelling import counted, isolated
from darkroom.figures.drawing import CORRECT, INCORRECT, INK, clip, shorten
from darkroom.figures.images import to_rgb

_TILE = (1.3, 1.8)  # inches: width and height of an image with its caption
_MARGIN, _HEADER = 0.3, 0.8  # inches
_MAX_NAME = 17  # characters of a class name that fit below an image


def mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    confidence: np.ndarray,
    classes: Sequence[str],
    limit: int,
) -> Figure:
    """A gallery of the `limit` most confident mistakes, most confident first. The title says if there are none.

    `images` (N, H, W, 1 or 3) uint8, `labels` and `predicted` (N,) int64, `confidence` (N,) in 0..1.
    """
    wrong = np.flatnonzero(labels != predicted)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:limit]
    title = f"Mistakes on {counted(len(labels), 'test image')}: the {len(shown)} most confident of {len(wrong):,}"
    captions = [(classes[labels[i]], classes[predicted[i]], f"{confidence[i]:.1%}") for i in shown]
    return _gallery(
        images[shown],
        captions,
        title if len(shown) else f"No mistakes on {counted(len(labels), 'test image')}",
        "Below each image: its label, → the predicted class, and the confidence of the prediction.",
    )


def suspects(images: np.ndarray, ids: np.ndarray, found: pd.DataFrame, limit: int) -> Figure:
    """A gallery of the first `limit` rows of a table of `label_errors.table`. The title says if there are none.

    `images` (N, H, W, 1 or 3) uint8 and `ids` (N,) unicode are those of all images that were examined.
    """
    indices = {name: index for index, name in enumerate(ids.tolist())}
    rows = found.head(limit)
    title = f"Suspect labels in {counted(len(ids), 'image')}: the top {len(rows)} of {len(found):,}"
    return _gallery(
        images[[indices[name] for name in rows["id"]]],
        [(row.label, row.suggested, f"{row.margin:+.2f}") for row in rows.itertuples()],
        title if len(found) else f"No suspect labels in {counted(len(ids), 'image')}",
        "Below each image: its label, → the suggested label, and the difference of their probabilities.",
    )


def _gallery(images: np.ndarray, captions: Sequence[tuple[str, str, str]], title: str, legend: str) -> Figure:
    """A grid of images (n, H, W, 1 or 3) uint8, each with its label, another class and a number below it."""
    columns = max(5, math.ceil(math.sqrt(len(images))))
    rows = math.ceil(len(images) / columns)
    width, height = columns * _TILE[0] + 2 * _MARGIN, rows * _TILE[1] + _HEADER + _MARGIN
    side = _TILE[0] - 0.15
    figure = Figure(figsize=(width, height), dpi=100)
    figure.text(_MARGIN / width, 1 - 0.2 / height, title, size=12, weight="bold", color=INK, va="top")
    if len(images):
        figure.text(_MARGIN / width, 1 - 0.46 / height, legend, size=9, color=INK, va="top")
    for number, (image, (label, other, value)) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(number, columns)
        left, top = _MARGIN + column * _TILE[0], height - _HEADER - row * _TILE[1]
        axes = figure.add_axes((left / width, (top - side) / height, side / width, side / height), anchor="SW")
        axes.set_axis_off()
        axes.imshow(to_rgb(image))
        lines = (
            (shorten(label, _MAX_NAME), CORRECT),
            (f"→ {isolated(shorten(other, _MAX_NAME))}", INCORRECT),
            (value, INK),
        )
        for line, (text, colour) in enumerate(lines):
            y = (top - side - 0.06 - 0.15 * line) / height
            caption = figure.text(left / width, y, text, size=8, color=colour, va="top", parse_math=False)
            clip(caption, figure, left / width, (side + 0.1) / width)
    return figure
