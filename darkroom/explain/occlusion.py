"""Occlusion maps: how much a score drops when parts of an image are covered.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014. They need only the answers of the
classifier, so the service uses them too; this module must not import PyTorch.
"""

import math
from collections.abc import Sequence

import numpy as np

WINDOW = 1 / 7  # side of a window, as a fraction of the image's side
WINDOWS_PER_SIDE = 13  # each overlaps half of the next
MAX_PIXELS = 2**22  # of all covered images together; large images have fewer and larger windows instead

Window = tuple[slice, slice]  # rows, columns


def windows(height: int, width: int, per_side: int = WINDOWS_PER_SIDE) -> list[Window]:
    """Windows, row by row, that cover every pixel of an image: at most `per_side` squared, fewer for a large image."""
    limit = min(per_side, max(1, math.isqrt(MAX_PIXELS // (height * width))))
    return [(rows, columns) for rows in _spans(height, limit) for columns in _spans(width, limit)]


def covered(image: np.ndarray, windows: Sequence[Window], fill: np.ndarray | int = 0) -> np.ndarray:
    """The image (H, W, C), then a copy for each of n windows, covered with the colour `fill`: (1 + n, H, W, C)."""
    images = np.repeat(image[None], 1 + len(windows), axis=0)
    for copy, window in zip(images[1:], windows, strict=True):
        copy[window] = fill
    return images


def distinct(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The images (m, H, W, C) of `covered` that differ from the first, after it, and the index (1 + n,) of each image.

    A window of the colour that covers it changes nothing, as a black corner does: its answer is that of the whole.
    """
    changes = (images != images[0]).any((1, 2, 3))
    changes[0] = True
    return images[changes], (np.cumsum(changes) - 1) * changes


def score_drops(scores: np.ndarray, windows: Sequence[Window], height: int, width: int) -> np.ndarray:
    """How much a score drops (H, W) float64 when a pixel is covered: the mean over the windows that contain it.

    `scores` (1 + n,) belong to the images of `covered`. A pixel with a positive value supports what the score measures;
    one with a negative value opposes it.
    """
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for window, score in zip(windows, scores[1:], strict=True):
        total[window] += scores[0] - score
        count[window] += 1
    return total / count


def log_odds(logits: np.ndarray, target: int) -> np.ndarray:
    """The natural logarithm of p / (1 - p) for the class `target`: (N,) float64, from logits (N, K) with K at least 2.

    It drops when the probability p does, but does not saturate when p is close to 1.
    """
    others = np.delete(logits.astype(np.float64), target, axis=1)
    highest = others.max(1)
    return logits[:, target] - highest - np.log(np.exp(others - highest[:, None]).sum(1))


def _spans(side: int, limit: int) -> list[slice]:
    """At most `limit` spans of equal length, evenly spaced over a side, without gaps."""
    length = max(1, round(side * WINDOW), math.ceil(side / limit))
    starts = np.linspace(0, side - length, min(limit, side - length + 1)).round().astype(int)
    return [slice(start, start + length) for start in starts.tolist()]
