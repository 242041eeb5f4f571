"""The intensity range of images of more than 8 bits, which decides what becomes black and what becomes white.

Microscopes and thermal cameras use a small part of 16 bits. If all 16 bits became 8, few grey levels would remain.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from darkroom.core.spelling import counted
from darkroom.inputs.depth import FULL_RANGE, scaled

MIN_LEVELS = 32  # grey levels of 256: fewer hide details
_OUTSIDE = 0.001  # fraction of the values below the range, and above it: dead and hot pixels
_WIDE = 2**15  # a range of at least this width loses one bit or less, and the images keep their scale


@dataclass(frozen=True)
class Intensities:
    """What is known about the training images of more than 8 bits."""

    range: tuple[int, int] | None  # the values that become black and white; None: 0 and 65,535
    images: int
    coarse: int  # of these images, how many keep fewer than MIN_LEVELS levels although they have more values

    @property
    def warning(self) -> str | None:
        """What is wrong and what to do, if details are lost."""
        if not self.coarse:
            return None
        low, high = self.range or FULL_RANGE
        return (
            f"{self.coarse} of {counted(self.images, 'training image')} with more than 8 bits keep fewer than "
            f"{MIN_LEVELS} of 256 grey levels, because {low:,} becomes black and {high:,} white: set "
            "preprocess.intensity_range to their lowest and highest value."
        )


NO_INTENSITIES = Intensities(None, 0, 0)  # of a dataset without such images


def measure(counts: Iterable[np.ndarray], wanted: Literal["auto"] | list[int]) -> Intensities:
    """The range that `wanted` selects, and what it does to images with these `counts` of their values.

    `counts` (65536,) int64 are those of each training image of more than 8 bits. "auto" is the range of their values,
    without the lowest and the highest 0.1 %; all 16 bits if that is at least half of them, or without images.
    """
    total, spans = np.zeros(2**16, np.int64), []
    for one in counts:
        total += one
        values = np.flatnonzero(one)
        spans.append((values[0], values[-1], len(values)))
    chosen = _range(total) if wanted == "auto" else (wanted[0], wanted[1])
    least, most, distinct = np.array(spans, np.int64).reshape(-1, 3).T
    levels = scaled(most, chosen or FULL_RANGE).astype(int) - scaled(least, chosen or FULL_RANGE) + 1
    coarse = (levels < MIN_LEVELS) & (distinct >= MIN_LEVELS)
    return Intensities(chosen, len(spans), int(coarse.sum()))


def _range(total: np.ndarray) -> tuple[int, int] | None:
    if not total.any():
        return None
    below = np.cumsum(total)
    low = int(np.searchsorted(below, _OUTSIDE * below[-1], side="right"))
    high = int(np.searchsorted(below, (1 - _OUTSIDE) * below[-1]))
    return (low, high) if low < high < low + _WIDE - 1 else None
