"""What the figures have in common: colours, captions, and how they are saved."""

import unicodedata
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox, TransformedBbox

from darkroom.figures import fonts

INK, CORRECT, INCORRECT = "#222222", "#0072B2", "#D55E00"  # the blue and vermilion of Okabe and Ito


def save(figure: Figure, path: str | Path | BinaryIO) -> None:
    """Write the figure to `path` as PNG; the same figure gives the same bytes."""
    with fonts.complete(figure):
        figure.savefig(path, format="png", facecolor="white", metadata={"Software": None})


def shorten(text: str, length: int) -> str:
    """The text, cut to `length` characters if it is longer; the last one is then an ellipsis.

    Wide characters, such as Chinese ones, count as two.
    """
    ends = list(accumulate(1 + (unicodedata.east_asian_width(character) in "FW") for character in text))
    return text if not ends or ends[-1] <= length else text[: bisect_right(ends, length - 1)] + "…"


def clip(text: Text, figure: Figure, left: float, width: float) -> None:
    """Hide what is outside `left` to `left + width` (fractions of the figure's width), so that texts do not overlap."""
    text.set(clip_on=True, clip_box=TransformedBbox(Bbox.from_bounds(left, 0, width, 1), figure.transFigure))
