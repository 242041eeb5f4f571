"""Pictures of what a model does; the same input gives the same bytes."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, TransformedBbox

INK, RIGHT, WRONG = "#222222", "#0072B2", "#D55E00"  # blue and vermilion of Okabe and Ito: colour-blind people tell them apart

_TILE = (1.3, 1.8)  # inches, the room of a picture with its caption
_EDGE, _TITLE = 0.3, 0.8  # inches
_LONGEST = 17  # letters of a name that fit below a picture


def mistakes(images: np.ndarray, labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, classes: Sequence[str], limit: int) -> Figure:
    """A gallery of the `limit` most confident mistakes, the most confident first; where there is none, it says so.

    `images` (N, H, W, C) uint8 with one channel or three, `labels` and `predicted` (N,) int64, `confidence` (N,) in 0..1.
    """
    wrong = np.flatnonzero(labels != predicted)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:limit]
    found = f"Mistakes on {len(labels):,} test pictures: the {len(shown)} most confident of {len(wrong):,}"
    title = found if len(shown) else f"No mistake on {len(labels):,} test pictures"
    captions = [(classes[labels[place]], f"→ {_shorten(classes[predicted[place]])}", f"{confidence[place]:.1%}") for place in shown]
    return _gallery(images[shown], captions, title, "what it is, → what the model took it for, and how sure the model was")


def suspects(images: np.ndarray, ids: np.ndarray, found: pd.DataFrame, limit: int) -> Figure:
    """A gallery of the first `limit` labels of a table of `labels.table`, which are probably wrong; where there is none, it says so.

    `images` (N, H, W, C) uint8 and `ids` (N,) unicode are those of all pictures that were looked at.
    """
    places = {name: place for place, name in enumerate(ids.tolist())}
    rows = found.head(limit)
    some = f"Labels of {len(ids):,} pictures that are probably wrong: {len(rows)} of {len(found):,}"
    title = some if len(found) else f"No suspect label among {len(ids):,} pictures"
    captions = [(row.label, f"→ {_shorten(row.suggested)}?", f"by {row.margin:+.2f}") for row in rows.itertuples()]
    shown = images[[places[name] for name in rows["id"]]]
    return _gallery(shown, captions, title, "its label, → what the model suggests, and by how much that is more probable")


def _gallery(images: np.ndarray, captions: Sequence[tuple[str, str, str]], title: str, legend: str) -> Figure:
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
        for line, (text, colour) in enumerate(zip((_shorten(lines[0]), *lines[1:]), (RIGHT, WRONG, INK), strict=True)):
            caption = figure.text(left / width, (top - side - 0.06 - 0.15 * line) / height, text, size=8, color=colour, va="top", parse_math=False)
            caption.set(clip_on=True, clip_box=room)  # a name of wide letters must not run into the next one
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Writes the figure to `path` as PNG, without a note of what software made it."""
    figure.savefig(path, format="png", facecolor="white", metadata={"Software": None})


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
