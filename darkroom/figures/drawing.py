"""Drawing."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, TransformedBbox

INK, RIGHT, WRONG = "#222222", "#0072B2", "#D55E00"  # blue and vermilion of Okabe and Ito
_TILE = (1.3, 1.8)  # inches, the room of a picture with its caption
_EDGE, _TITLE = 0.3, 0.8  # inches
_LONGEST = 17  # letters of a name that fit below a picture


def gallery(images: np.ndarray, captions: Sequence[tuple[str, str, str]], title: str, legend: str) -> Figure:
    """Pictures (n, H, W, C) uint8, three lines below each: its label, what was said instead, and a number."""
    columns = max(5, math.ceil(math.sqrt(len(images))))
    rows = math.ceil(len(images) / columns)
    width, height = columns * _TILE[0] + 2 * _EDGE, rows * _TILE[1] + _TITLE + _EDGE
    figure = Figure(figsize=(width, height), dpi=100)
    figure.text(_EDGE / width, 1 - 0.2 / height, title, size=12, weight="bold", color=INK, va="top")
    if len(images):
        figure.text(_EDGE / width, 1 - 0.46 / height, legend, size=9, color=INK, va="top")
    for number, (image, lines) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(number, columns)
        left, top = _EDGE + column * _TILE[0], height - _TITLE - row * _TILE[1]
        side = _TILE[0] - 0.15
        axes = figure.add_axes((left / width, (top - side) / height, side / width, side / height), anchor="SW")
        axes.set_axis_off()
        axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        room = TransformedBbox(Bbox.from_bounds(left / width, 0, (side + 0.1) / width, 1), figure.transFigure)
        for line, (text, colour) in enumerate(zip((shorten(lines[0]), *lines[1:]), (RIGHT, WRONG, INK), strict=True)):
            caption = figure.text(
                left / width,
                (top - side - 0.06 - 0.15 * line) / height,
                text,
                size=8,
                color=colour,
                va="top",
                parse_math=False,
            )
            caption.set(clip_on=True, clip_box=room)  # a name of wide letters must not run into the next one
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Writes the figure to `path` as PNG, without a note of what software made it."""
    figure.savefig(path, format="png", facecolor="white", metadata={"Software": None})


def shorten(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
