"""A contact sheet of mistakes: small images that git tracks, so that the review can show what it lists.

A PNG file, grey or with a palette of at most 256 colours. Its tiles are square and of one size, COLUMNS per row. Two
text fields describe it: `tile`, the side of a tile in pixels, and `ids`, a JSON list of the examples in reading order.
`darkroom/review/thumbnails.py` reads it.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from darkroom.figures.images import to_pil

LIMIT, COLUMNS = 500, 25  # tiles, and those of a row
MAX_SIDE = 32  # pixels of a tile


def write(path: str | Path, images: np.ndarray, predictions: pd.DataFrame) -> None:
    """Write the sheet to `path`; print a line and write nothing if that fails, because no metric needs it.

    `images` (N, H, W, 1 or 3) uint8; `predictions` has a row for each, with columns id, label, predicted, confidence.
    """
    try:
        chosen = mistakes(predictions)
        text = PngInfo()
        tile = min(MAX_SIDE, max(images.shape[1:3]))
        text.add_text("tile", str(tile))
        text.add_text("ids", json.dumps(predictions["id"].iloc[chosen].tolist()), zip=True)
        sheet(images, chosen, tile).save(path, format="PNG", optimize=True, pnginfo=text)
    except (OSError, ValueError, TypeError, IndexError, MemoryError) as error:
        Path(path).unlink(missing_ok=True)
        print(f"evaluate: {Path(path).name} is left out: {error}", file=sys.stderr)


def mistakes(predictions: pd.DataFrame) -> np.ndarray:
    """The rows (n,) int64 of the LIMIT most confident mistakes, most confident first; ties keep their order."""
    rows = np.flatnonzero(predictions["label"] != predictions["predicted"])
    return rows[np.argsort(-predictions["confidence"].to_numpy()[rows], kind="stable")][:LIMIT]


def sheet(images: np.ndarray, chosen: np.ndarray, tile: int) -> Image.Image:
    """The images (N, H, W, 1 or 3) uint8 at the rows `chosen` (n,), scaled down to fit tiles of `tile` pixels.

    A sheet without mistakes has one black row.
    """
    mode = "L" if images.shape[3] == 1 else "RGB"
    found = Image.new(mode, (COLUMNS * tile, max(1, math.ceil(len(chosen) / COLUMNS)) * tile))
    for number, index in enumerate(chosen.tolist()):
        image = to_pil(images[index])
        image.thumbnail((tile, tile), Image.Resampling.BOX)  # keeps the ratio of sides
        row, column = divmod(number, COLUMNS)
        found.paste(image, (column * tile, row * tile))
    return found if mode == "L" else found.quantize(256)
