"""What a classifier looked at, asked of nothing but its answers: by how much the odds of a class fall where the picture is covered.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014; the same windows, in black, as
darkroom/explanation.py has in training, here without PyTorch and for the exported classifier.
"""

import math
from collections.abc import Sequence

import numpy as np

PART = 1 / 7  # of the picture's side: a window
SIDE = 13  # windows along a side: each overlaps half of the next
PIXELS = 2**22  # of all covered pictures together: where there would be more, windows are fewer and larger

Window = tuple[slice, slice]  # rows, columns


def windows(height: int, width: int) -> list[Window]:
    """Windows, row by row, that together cover every pixel of a picture: at most 169, and fewer of a large picture."""
    most = min(SIDE, max(1, math.isqrt(PIXELS // (height * width))))
    return [(rows, columns) for rows in _spans(height, most) for columns in _spans(width, most)]


def covered(image: np.ndarray, windows: Sequence[Window]) -> np.ndarray:
    """Pictures (1 + n, H, W, C) uint8: the picture (H, W, C) uint8 itself, then with each of n windows black."""
    images = np.repeat(image[None], 1 + len(windows), axis=0)
    for one, window in zip(images[1:], windows, strict=True):
        one[window] = 0
    return images


def log_odds(logits: np.ndarray, target: int) -> np.ndarray:
    """The natural logarithm of p / (1 - p) of the class `target` (N,) float64, of logits (N, K), K at least 2.

    It falls where the probability p does, and is not lost in rounding where p is nearly 1.
    """
    others = np.delete(logits.astype(np.float64), target, axis=1)
    most = others.max(1)
    return logits[:, target] - most - np.log(np.exp(others - most[:, None]).sum(1))


def falls(scores: np.ndarray, windows: Sequence[Window], height: int, width: int) -> np.ndarray:
    """By how much a score falls (H, W) float64 when a pixel is covered: the mean over the windows that hold it.

    `scores` (1 + n,) are those of the pictures that `covered` made. Above 0 a pixel speaks for what the score is of, below 0 against it.
    """
    total, times = np.zeros((height, width)), np.zeros((height, width))
    for window, score in zip(windows, scores[1:], strict=True):
        total[window] += scores[0] - score
        times[window] += 1
    return total / times


def _spans(side: int, most: int) -> list[slice]:
    """At most `most` equal spans, evenly spread over a side and without a gap."""
    length = max(1, round(side * PART), math.ceil(side / most))
    starts = np.linspace(0, side - length, min(most, side - length + 1)).round().astype(int)
    return [slice(start, start + length) for start in starts.tolist()]
