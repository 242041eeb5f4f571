"""The difference between two images that remains when one is a changed copy of the other.

A copy may be shifted, zoomed, blurred by resizing, brighter or darker, or have another contrast or gamma. Each of these
changes, if it is small, adds a multiple of a known image: of a derivative, of the image itself, or of its square. So a
least-squares fit explains them all at once (Lucas and Kanade, "An iterative image registration technique with an
application to stereo vision", IJCAI 1981). What it cannot explain is compared with the contrast of the images.
"""

from functools import cache

import numpy as np

_CELLS = 12  # compared per side
_WINDOW = 3  # cells per side of a window

# In parts of a side: pixels of an image of 28 x 28.
_PARTS = 28
_MARGIN = 2.5  # not compared: there, a shifted or zoomed copy shows other content
_BLUR = 1.3  # standard deviation of the Gaussian that smooths all cells; it suppresses compression noise
_SLOPE_BLUR = (_BLUR**2 - 1 / 6) ** 0.5  # so a shift by 1 is still linear: tan(w / 2) = w / 2 + w**3 / 24 + ...
_MORE_BLUR, _MOST_BLUR = 1.3 * _BLUR, 1.6 * _BLUR  # two, since resizing may also sharpen

_RIDGE = 1e-4  # in some images two changes do the same, and the fit has no unique solution
_MIN_CONTRAST = 1.0  # grey levels: a flatter image has no content to compare


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Differences (N,) float64 between paired images (N, H, W, C) uint8, as fractions of their contrast.

    0 means that the second image is a copy of the first (see the module). Otherwise, the root mean square of the
    unexplained rest is divided by the contrast: the standard deviation of the mean of both images. The rest is taken
    from the window, a fifth of a side wide, where it is largest, so that a small object on a common background counts.
    The difference is symmetric. It is infinite if the mean of both images has no contrast.
    """
    return compare(maps(first), maps(second))


def compare(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The `differences` (N,) float64 between paired images, from their `maps`, (N, 5, k, k, C) float32 each."""
    rest = b[:, 0] - a[:, 0]
    mean, down, right, *blurred = np.moveaxis((a + b) / 2, 1, 0)
    centred = mean - mean.mean((1, 2), keepdims=True)
    contrast = np.sqrt((centred**2).mean((1, 2, 3)))
    tone = mean - mean.mean((1, 2, 3), keepdims=True)
    place = (np.arange(_CELLS, dtype=np.float32) + 0.5) / _CELLS - 0.5
    zoom = place[:, None, None] * down + place[:, None] * right
    changes = np.stack([np.ones_like(tone), tone, tone**2, down, right, zoom, *blurred], axis=1)
    largest = _largest_window_mean((_unexplained(rest, changes) ** 2).mean(3))
    return np.divide(
        np.sqrt(largest), contrast, out=np.full(len(rest), np.inf), where=contrast >= _MIN_CONTRAST, dtype=np.float64
    )


def maps(images: np.ndarray) -> np.ndarray:
    """Five maps of each image (N, H, W, C) uint8: (N, 5, k, k, C) float32 for k = 12 cells per side.

    Smoothed, its derivatives downwards and to the right, and its changes by more blur and by still more.
    """
    count, height, width, channels = images.shape
    planes = np.moveaxis(images, 3, 1).astype(np.float32)
    both = _filters(height).T @ planes @ _filters(width)
    both = both.reshape(count, channels, 4, _CELLS, 4, _CELLS)
    smooth, slope, more, most = range(4)
    found = [
        both[:, :, smooth, :, smooth],
        both[:, :, slope, :, smooth],
        both[:, :, smooth, :, slope],
        both[:, :, more, :, more] - both[:, :, smooth, :, smooth],
        both[:, :, most, :, most] - both[:, :, smooth, :, smooth],
    ]
    return np.moveaxis(np.stack(found, axis=1), 2, 4)


@cache
def _filters(side: int) -> np.ndarray:
    """Filters along an axis of `side` pixels: (side, 4 * k) float32, for k cells smooth, slope, more and most blur."""
    part = side / _PARTS
    centres = (_MARGIN + (np.arange(_CELLS) + 0.5) * (_PARTS - 2 * _MARGIN) / _CELLS) * part
    step = part / 4

    def gaussian(centres: np.ndarray, blur: float) -> np.ndarray:
        weights = np.exp(-0.5 * ((np.arange(side)[:, None] + 0.5 - centres) / (blur * part)) ** 2)
        return weights / weights.sum(0)

    slope = (gaussian(centres + step, _SLOPE_BLUR) - gaussian(centres - step, _SLOPE_BLUR)) / (2 * step) * side
    filters = [gaussian(centres, _BLUR), slope, gaussian(centres, _MORE_BLUR), gaussian(centres, _MOST_BLUR)]
    return np.concatenate(filters, axis=1).astype(np.float32)


def _unexplained(target: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """What remains of `target` (N, k, k, C) after a least-squares fit of `changes` (N, P, k, k, C)."""
    count, size = changes.shape[:2]
    columns, values = changes.reshape(count, size, -1), target.reshape(count, -1, 1)
    columns = columns / (np.sqrt((columns**2).mean(2, keepdims=True)) + 1e-6)
    products = columns @ columns.swapaxes(1, 2) + _RIDGE * values.shape[1] * np.eye(size, dtype=np.float32)
    factors = np.linalg.solve(products, columns @ values)
    return (values - columns.swapaxes(1, 2) @ factors).reshape(target.shape)


def _largest_window_mean(cells: np.ndarray) -> np.ndarray:
    """The largest mean (N,) over windows of 3 x 3 cells of (N, k, k)."""
    rows = sum(cells[:, start : _CELLS - _WINDOW + 1 + start] for start in range(_WINDOW))
    both = sum(rows[:, :, start : _CELLS - _WINDOW + 1 + start] for start in range(_WINDOW))
    return both.max((1, 2)) / _WINDOW**2
