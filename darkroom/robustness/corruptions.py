"""Common corruptions of images at five severities, to measure a classifier's robustness.

After Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR
2019, and Mu and Gilmer, "MNIST-C: a robustness benchmark for computer vision", 2019. The corrupted images are not
identical to theirs.
"""

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import fft, ndimage, special

from darkroom.core.arrays import Split, read_whole
from darkroom.core.randomness import numpy_generator
from darkroom.core.spelling import did_you_mean

SEVERITIES = (1, 2, 3, 4, 5)

# Strength at each severity.
# H: from the code of Hendrycks and Dietterich for CIFAR-10; their pixels are given here as fractions of a side of 32.
# M: from Mu and Gilmer for MNIST; their pixels are given here as fractions of a side of 28.
# C: chosen here.
# "The side" is the shorter one.
STRENGTHS = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # H: standard deviation / 255
    "shot_noise": (500, 250, 100, 75, 50),  # H: photons of a white pixel
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # H: fraction of the values
    "gaussian_blur": (0.4 / 32, 0.6 / 32, 0.7 / 32, 0.8 / 32, 1 / 32),  # H: standard deviation / the side
    "motion_blur": (1 / 32, 1.5 / 32, 2 / 32, 2.25 / 32, 2.5 / 32),  # H, C at 4 (H repeats 3): as above
    "shift": (1 / 28, 2 / 28, 3 / 28, 4 / 28, 5 / 28),  # M: fraction of each side
    "rotation": (11.5, 22.9, 34.4, 45.8, 57.3),  # M: degrees; theirs are 0.2 to 1 radians
    "scale": (0.9, 0.8, 0.7, 0.6, 0.5),  # M: size of the result / size of the image
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # H: factor
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # H: addend / 255
    "occlusion": (0.2, 0.3, 0.4, 0.5, 0.6),  # C: fraction of each side, so 4 to 36 % of the area
    "jpeg": (80, 65, 58, 50, 40),  # H: quality, up to 100
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # H: blocks per pixel, along a side
}

_BLOCK = 128  # images per stream of random numbers; intermediate results of small ones fit into the processor's cache
_QUANTILES = 4096  # of a Poisson distribution


def load(split: Split) -> np.ndarray:
    """The images (N, H, W, 1 or 3) uint8 of the examples of a split."""
    return read_whole(split.inputs)


def corrupt(images: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """Apply the corruption `name` of CORRUPTIONS to images (N, H, W, 1 or 3) uint8; return a new array like them.

    The random numbers for an image depend on `seed`, `name`, its index and the size of the images. They do not depend
    on the other images, on their number, or on the severity: it only scales the effect, on the same pixels or in the
    same direction. Rounding may differ between machines, and JPEG compression between versions of libjpeg. Raises
    ValueError for an unknown name or severity.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}: {did_you_mean(name, CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity = {severity!r}: must be one of {', '.join(map(str, SEVERITIES))}")
    strength = STRENGTHS[name][SEVERITIES.index(severity)]
    corrupted = np.empty(images.shape, np.uint8)
    for block, start in enumerate(range(0, len(images), _BLOCK)):
        part = slice(start, start + _BLOCK)
        corrupted[part] = CORRUPTIONS[name](images[part], strength, numpy_generator(seed, "corruption", name, block))
    return corrupted


# Each takes images (N, H, W, C) uint8, a strength in the unit of STRENGTHS, and a generator; it returns (N, H, W, C)
# uint8. It draws at most once, one row per image, so that the numbers for the first images do not depend on how many
# follow. What enters at an edge is black, unless noted otherwise.


def gaussian_noise(images: np.ndarray, deviation: float, generator: np.random.Generator) -> np.ndarray:
    """Add independent normally distributed noise to each value, as of a sensor in low light."""
    return _to_uint8(images + np.float32(255 * deviation) * generator.standard_normal(images.shape, np.float32))


def shot_noise(images: np.ndarray, photons: float, generator: np.random.Generator) -> np.ndarray:
    """Replace each value by a Poisson-distributed count of photons: the noise of light itself."""
    return _poisson_levels(photons)[images, generator.integers(_QUANTILES, size=images.shape, dtype=np.uint16)]


def impulse_noise(images: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """Set this fraction of the values to 0 or 255, half each ("salt and pepper"), as bit errors do."""
    drawn = generator.random(images.shape, np.float32)
    return np.select([drawn < fraction / 2, drawn >= 1 - fraction / 2], [np.uint8(0), np.uint8(255)], images)


def gaussian_blur(images: np.ndarray, fraction: float, _: np.random.Generator) -> np.ndarray:
    """Blur with a Gaussian; the pixels of the edge are repeated outside."""
    deviation = fraction * min(images.shape[1:3])
    return _along_sides(images, lambda side: ndimage.gaussian_filter1d(np.eye(side), deviation, axis=0, mode="nearest"))


def motion_blur(images: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """Blur along a random direction per image, with half a Gaussian; the pixels of the edge are repeated outside."""
    deviation = fraction * min(images.shape[1:3])
    reach = int(np.ceil(3 * deviation))
    steps = np.arange(reach + 1)  # of one pixel each, as in ImageMagick, which Hendrycks and Dietterich use
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    angles = generator.uniform(0, 2 * np.pi, (len(images), 1))
    down, right = (_bilinear(steps * turn(angles) + reach, 2 * reach + 1) for turn in (np.sin, np.cos))
    kernels = np.swapaxes(down, 1, 2) @ (right * (weights / weights.sum())[:, None])  # (N, side, side)
    padded = np.pad(np.moveaxis(images, 3, 1), ((0, 0), (0, 0), (reach, reach), (reach, reach)), "edge")
    blurred = _convolve(padded.astype(np.float32), kernels[:, None].astype(np.float32))
    return _to_uint8(np.moveaxis(blurred, 1, 3))


def shift(images: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """Shift by whole pixels, up or down and left or right."""
    reach = np.array([round(fraction * side) for side in images.shape[1:3]])
    # Offsets of the window that is cut out; the image moves the opposite way.
    down, right = (reach * generator.choice([0, 2], (len(images), 2))).T
    padded = np.pad(images, ((0, 0), (reach[0], reach[0]), (reach[1], reach[1]), (0, 0)))
    # (N, offsets, offsets, C, H, W)
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[1:3], axis=(1, 2))
    return np.moveaxis(windows[np.arange(len(images)), down, right], 1, 3)


def rotation(images: np.ndarray, degrees: float, generator: np.random.Generator) -> np.ndarray:
    """Rotate about the centre, clockwise or counterclockwise, with bilinear interpolation."""
    directions = generator.choice([-1, 1], len(images))
    rotated = np.empty(images.shape, np.float32)
    for direction in (-1, 1):
        chosen = directions == direction
        rotated[chosen] = ndimage.rotate(
            images[chosen], direction * degrees, axes=(1, 2), reshape=False, order=1, output=np.float32
        )
    return _to_uint8(rotated)


def scale(images: np.ndarray, factor: float, _: np.random.Generator) -> np.ndarray:
    """Shrink about the centre, with bilinear interpolation."""

    def matrix(side: int) -> np.ndarray:
        return _bilinear((np.arange(side) - (side - 1) / 2) / factor + (side - 1) / 2, side)

    return _along_sides(images, matrix)


def contrast(images: np.ndarray, factor: float, _: np.random.Generator) -> np.ndarray:
    """Multiply the difference from the mean of the image's channel by the factor."""
    means = images.mean((1, 2), dtype=np.float32, keepdims=True)
    return _to_uint8(means + factor * (images - means))


def brightness(images: np.ndarray, fraction: float, _: np.random.Generator) -> np.ndarray:
    """Add this fraction of 255 to the value in HSV (the largest channel), up to white; keep hue and saturation."""
    values = images.max(3, keepdims=True).astype(np.float32)
    lifted = np.minimum(values + 255 * fraction, 255)
    return _to_uint8(np.where(values > 0, images * (lifted / np.maximum(values, 1)), lifted))


def occlusion(images: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """Cover a box at a random position with mid-grey; each of its sides is this fraction of the image's.

    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, occlude with grey too.
    """
    sides = np.array(images.shape[1:3])
    box = np.rint(fraction * sides).astype(np.int64)
    corner = (generator.random((len(images), 2)) * (sides - box + 1)).astype(np.int64)
    down, right = (np.arange(side) - corner[:, [axis]] for axis, side in enumerate(sides))  # from the box's corner
    inside = ((down >= 0) & (down < box[0]))[:, :, None] & ((right >= 0) & (right < box[1]))[:, None, :]
    return np.where(inside[..., None], np.uint8(128), images)


def jpeg(images: np.ndarray, quality: int, _: np.random.Generator) -> np.ndarray:
    """Compress as JPEG, with chroma subsampling for colour images, and decode."""
    decoded = [_recompress(image.squeeze(2) if image.shape[2] == 1 else image, quality) for image in images]
    return np.array(decoded).reshape(images.shape)


def pixelate(images: np.ndarray, fraction: float, _: np.random.Generator) -> np.ndarray:
    """Shrink each side to this fraction and enlarge it again, with Pillow's box filter: blocks of one colour."""

    def matrix(side: int) -> np.ndarray:
        identity = Image.fromarray(np.eye(side, dtype=np.float32))
        small = identity.resize((side, max(1, int(fraction * side))), Image.Resampling.BOX)
        return np.asarray(small.resize((side, side), Image.Resampling.BOX))

    return _along_sides(images, matrix)


CORRUPTIONS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "gaussian_blur": gaussian_blur,
    "motion_blur": motion_blur,
    "shift": shift,
    "rotation": rotation,
    "scale": scale,
    "contrast": contrast,
    "brightness": brightness,
    "occlusion": occlusion,
    "jpeg": jpeg,
    "pixelate": pixelate,
}


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Round and clip grey levels."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _along_sides(images: np.ndarray, matrix: Callable[[int], np.ndarray]) -> np.ndarray:
    """Multiply every column of images (N, H, W, C) uint8 by `matrix(H)` (H, H), and every row by `matrix(W)` (W, W)."""
    rows, columns = (matrix(side).astype(np.float32) for side in images.shape[1:3])
    return _to_uint8(np.moveaxis(rows @ np.moveaxis(images, 3, 1).astype(np.float32) @ columns.T, 1, 3))


def _convolve(images: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    """Convolve images (N, C, H, W) with kernels (N, 1, h, w), where a kernel is inside: (N, C, H - h + 1, W - w + 1).

    The bits are those of scipy.signal.fftconvolve, whose import takes as long as half of all corruptions.
    """
    sides, small = images.shape[2:], kernels.shape[2:]
    fast = [fft.next_fast_len(side + other - 1, real=True) for side, other in zip(sides, small, strict=True)]
    spectra = fft.rfftn(images, fast, axes=(2, 3)) * fft.rfftn(kernels, fast, axes=(2, 3))
    whole = fft.irfftn(spectra, fast, axes=(2, 3))
    return whole[:, :, small[0] - 1 : sides[0], small[1] - 1 : sides[1]]


def _bilinear(positions: np.ndarray, side: int) -> np.ndarray:
    """Weights (..., side) float64 of the pixels of a side in the interpolated values at `positions` (...).

    Positions are in pixels from the centre of the first one.
    """
    return np.maximum(1 - np.abs(positions[..., None] - np.arange(side)), 0)


@lru_cache(maxsize=len(SEVERITIES))
def _poisson_levels(photons: float) -> np.ndarray:
    """Quantiles (256, Q) uint8 of each grey level's Poisson distribution, as grey levels; white has mean `photons`."""
    counts = np.arange(photons + 6 * photons**0.5 + 6)
    quantiles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    cumulative = special.pdtr(counts, np.arange(256)[:, None] * photons / 255)
    return _to_uint8(np.array([np.searchsorted(row, quantiles) for row in cumulative]) * (255 / photons))


def _recompress(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file, formats=("JPEG",)))
