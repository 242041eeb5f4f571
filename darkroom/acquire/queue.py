"""The folder .darkroom/queue: what to label next, for people, for the label page and for other tools.

queue.csv   rank, id, score, predicted (class, empty without a trained model), reason, and of texts the text
queue.json  how they were chosen, counts, and the same rows
sheet.png   the first images with their rank and predicted class, of images
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from darkroom.core.outputs import new_folder, write_csv, write_json
from darkroom.core.spelling import counted
from darkroom.figures.drawing import INK, clip, save, shorten
from darkroom.figures.images import to_rgb

FOLDER = Path(".darkroom/queue")
COLUMNS = ("rank", "id", "score", "predicted", "reason")
SHOWN = 100  # images in the sheet
_MIN_COLUMNS, _COLUMNS = 4, 10  # images per row; the title needs the room of some
_TILE, _MARGIN, _HEADER = 1.2, 0.3, 0.5  # inches
_CAPTION = 0.3  # inches below an image


def write(
    rows: Sequence[Sequence[Any]],
    shown: np.ndarray | Sequence[str] | None,
    about: Mapping[str, Any],
    folder: Path = FOLDER,
) -> None:
    """Replace the folder, atomically.

    `rows` have the values of COLUMNS; `shown` are the images (n, H, W, 1 or 3) uint8 of the first SHOWN, or the texts
    of all, or None; `about` says how the rows were chosen.
    """
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    are_images = isinstance(shown, np.ndarray)
    if shown is not None and not are_images:
        table["text"] = list(shown)
    items = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    with new_folder(folder) as temporary:
        write_csv(temporary / "queue.csv", table)
        write_json(temporary / "queue.json", {**about, "items": items})
        if are_images:
            save(sheet(shown, table), temporary / "sheet.png")


def sheet(images: np.ndarray, table: pd.DataFrame) -> Figure:
    """The images (n, H, W, 1 or 3) uint8 of the first n rows, each with its rank and predicted class."""
    columns = max(_MIN_COLUMNS, min(_COLUMNS, len(images)))
    side = _TILE - 0.1
    tall = side * min(1, images.shape[1] / images.shape[2])  # of wide images
    row_height = tall + 0.1 + _CAPTION
    width, height = columns * _TILE + 2 * _MARGIN, math.ceil(len(images) / columns) * row_height + _HEADER + _MARGIN
    figure = Figure(figsize=(width, height), dpi=100)
    first = f": the first {len(images)}" if len(images) < len(table) else ""
    title = f"{counted(len(table), 'example')} to label{first}"
    figure.text(_MARGIN / width, 1 - 0.2 / height, title, size=12, weight="bold", color=INK, va="top")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        left, top = _MARGIN + column * _TILE, height - _HEADER - row * row_height
        axes = figure.add_axes((left / width, (top - tall) / height, side / width, tall / height), anchor="SW")
        axes.set_axis_off()
        axes.imshow(to_rgb(image))
        text = shorten(f"{table['rank'][number]}  {table['predicted'][number]}", 18)
        caption = figure.text(
            left / width, (top - tall - 0.14) / height, text, size=8, color=INK, va="baseline", parse_math=False
        )
        clip(caption, figure, left / width, (side + 0.05) / width)
    return figure
