"""Remove noise from images, in the same way before training and before a prediction."""

from typing import Literal

import numpy as np

from darkroom.core.cropping import centre

_BLOCK_BYTES = 2**20  # pixels filtered at a time: a block and its intermediate arrays fit in the CPU cache


def denoise(images: np.ndarray, method: Literal["none", "median"]) -> np.ndarray:
    """Filter images (N, H, W, C) uint8 by channel with a 3 x 3 median, or return them unchanged.

    Edge pixels are replicated. The columns of three values are sorted first; the median of the nine values is then the
    median of the largest low, the middle mid and the smallest high value (A. W. Paeth, "Median finding on a 3 x 3
    grid", Graphics Gems, 1990).
    """
    if method == "none":
        return images
    filtered = np.empty_like(images)
    block = max(1, _BLOCK_BYTES // images[0].nbytes)
    for start in range(0, len(images), block):
        padded = np.pad(images[start : start + block], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        low, mid, high = _sort3(padded[:, :-2], padded[:, 1:-1], padded[:, 2:])
        lows, mids, highs = (_sort3(row[:, :, :-2], row[:, :, 1:-1], row[:, :, 2:]) for row in (low, mid, high))
        filtered[start : start + block] = _sort3(lows[2], mids[1], highs[0])[1]
    return filtered


def denoise_with_centre(images: np.ndarray, method: Literal["none", "median"], size: tuple[int, int]) -> np.ndarray:
    """As `denoise`, but the centre of `size` (height, width) is filtered on its own.

    So it equals the input of a network in production, where the margin around it is unknown.
    """
    filtered = denoise(images, method)
    if method != "none" and size != images.shape[1:3]:
        centre(filtered, size)[:] = denoise(centre(images, size), method)
    return filtered


def _sort3(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort three arrays element-wise: the smallest, the middle and the largest values."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    return np.minimum(low, c), np.maximum(low, np.minimum(high, c)), np.maximum(high, c)
