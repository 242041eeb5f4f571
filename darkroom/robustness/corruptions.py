"""Common corruptions of pictures at five severities, by which a classifier's robustness is measured.

After Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019,
and Mu and Gilmer, "MNIST-C: a robustness benchmark for computer vision", 2019. The results are not byte for byte theirs.
"""

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage, signal, special

from darkroom.core.randomness import numpy_generator

SEVERITIES = (1, 2, 3, 4, 5)

# By severity. H: Hendrycks and Dietterich's for CIFAR-10, from their code (their pixels are shares of a side of 32 here);
# M: Mu and Gilmer's for MNIST, likewise (of 28); C: chosen here. A side is the shorter one where both are treated alike.
STRENGTHS = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # H: standard deviation, of the range 0..255
    "shot_noise": (500, 250, 100, 75, 50),  # H: photons from a white pixel
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # H: share of the values
    "gaussian_blur": (0.4 / 32, 0.6 / 32, 0.7 / 32, 0.8 / 32, 1 / 32),  # H: standard deviation, of the side
    "motion_blur": (
        1 / 32,
        1.5 / 32,
        2 / 32,
        2.25 / 32,
        2.5 / 32,
    ),  # H, but C at 4, where theirs repeats 3: standard deviation, of the side
    "shift": (1 / 28, 2 / 28, 3 / 28, 4 / 28, 5 / 28),  # M: of each side
    "rotation": (11.5, 22.9, 34.4, 45.8, 57.3),  # M: degrees, theirs are 0.2 to 1 radians
    "scale": (0.9, 0.8, 0.7, 0.6, 0.5),  # M: size of the result, of the picture's
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # H: what is left of it
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # H: added, of the range 0..255
    "occlusion": (0.2, 0.3, 0.4, 0.5, 0.6),  # C: of each side, so 4 to 36 % of the area
    "jpeg": (80, 65, 58, 50, 40),  # H: quality, of 100
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # H: blocks a pixel, along a side
}

_BLOCK = 128  # pictures that share a stream of random numbers: the intermediate results of small ones stay in the processor's cache
_QUANTILES = 4096  # of a Poisson distribution that are told apart


def corrupt(images: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """Pictures (N, H, W, C) uint8, C of 1 or 3, corrupted as `name` in CORRUPTIONS says: a new array, (N, H, W, C) uint8.

    What is drawn for a picture depends on `seed`, `name`, its place in `images` and their size: not on the other pictures, nor
    on how many follow, so the first of many are corrupted as they are alone. Nor does it depend on the severity, which only
    scales it (the same pixels are hit, the same way is turned). Another machine may round a value otherwise, another version
    of libjpeg may compress otherwise. Raises ValueError for an unknown name or severity.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"there is no corruption {name!r}: it is one of {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"there is no severity {severity!r}: it is one of {', '.join(map(str, SEVERITIES))}")
    strength = STRENGTHS[name][SEVERITIES.index(severity)]
    corrupted = np.empty(images.shape, np.uint8)
    for block, start in enumerate(range(0, len(images), _BLOCK)):
        part = slice(start, start + _BLOCK)
        corrupted[part] = CORRUPTIONS[name](images[part], strength, numpy_generator(seed, "corruption", name, block))
    return corrupted


# Each takes pictures (N, H, W, C) uint8, a strength in the unit of STRENGTHS, and a generator, and returns (N, H, W, C) uint8.
# It draws at most once, a row a picture: so the first pictures' numbers are the same however many follow.


def gaussian_noise(images: np.ndarray, deviation: float, generator: np.random.Generator) -> np.ndarray:
    """Normally distributed noise is added, to each value its own: a sensor's in bad light."""
    return _levels(images + np.float32(255 * deviation) * generator.standard_normal(images.shape, np.float32))


def shot_noise(images: np.ndarray, photons: float, generator: np.random.Generator) -> np.ndarray:
    """Each value is replaced by a count of photons, Poisson-distributed about it: light's own noise."""
    return _poisson_levels(photons)[images, generator.integers(_QUANTILES, size=images.shape, dtype=np.uint16)]


def impulse_noise(images: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """That share of the values becomes 0 or 255, half of it each ("salt and pepper"): bit errors."""
    drawn = generator.random(images.shape, np.float32)
    return np.select([drawn < share / 2, drawn >= 1 - share / 2], [np.uint8(0), np.uint8(255)], images)


def gaussian_blur(images: np.ndarray, share: float, _: np.random.Generator) -> np.ndarray:
    """Blurred by a normal distribution; beyond the edge its pixels go on."""
    deviation = share * min(images.shape[1:3])
    return _along_sides(images, lambda side: ndimage.gaussian_filter1d(np.eye(side), deviation, axis=0, mode="nearest"))


def motion_blur(images: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Smeared to one side, in a direction drawn for each picture, with the weights of half a normal distribution.

    Beyond the edge its pixels go on.
    """
    deviation = share * min(images.shape[1:3])
    reach = int(np.ceil(3 * deviation))
    way = np.arange(reach + 1)  # in steps of a pixel, as in ImageMagick, which Hendrycks and Dietterich use
    weights = np.exp(-(way**2) / (2 * deviation**2))
    angles = generator.uniform(0, 2 * np.pi, (len(images), 1))
    down, right = (
        _bilinear(way * turn(angles) + reach, 2 * reach + 1) for turn in (np.sin, np.cos)
    )  # (N, steps, kernel's side)
    kernels = np.swapaxes(down, 1, 2) @ (right * (weights / weights.sum())[:, None])
    padded = np.pad(np.moveaxis(images, 3, 1), ((0, 0), (0, 0), (reach, reach), (reach, reach)), "edge")
    return _levels(
        np.moveaxis(
            signal.fftconvolve(padded.astype(np.float32), kernels[:, None].astype(np.float32), "valid", axes=(2, 3)),
            1,
            3,
        )
    )


def shift(images: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Moved by whole pixels, up or down and left or right; what comes in at the edge is black."""
    reach = np.array([round(share * side) for side in images.shape[1:3]])
    down, right = (
        reach * generator.choice([0, 2], (len(images), 2))
    ).T  # of the window, which moves against the picture
    padded = np.pad(images, ((0, 0), (reach[0], reach[0]), (reach[1], reach[1]), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, images.shape[1:3], axis=(1, 2)
    )  # (N, places, places, C, H, W)
    return np.moveaxis(windows[np.arange(len(images)), down, right], 1, 3)


def rotation(images: np.ndarray, degrees: float, generator: np.random.Generator) -> np.ndarray:
    """Turned about the middle, one way or the other, bilinear; what comes in at the edge is black."""
    ways = generator.choice([-1, 1], len(images))
    rotated = np.empty(images.shape, np.float32)
    for way in (-1, 1):
        rotated[ways == way] = ndimage.rotate(
            images[ways == way], way * degrees, axes=(1, 2), reshape=False, order=1, output=np.float32
        )
    return _levels(rotated)


def scale(images: np.ndarray, factor: float, _: np.random.Generator) -> np.ndarray:
    """Made smaller about the middle, bilinear; what comes in at the edge is black."""
    return _along_sides(
        images, lambda side: _bilinear((np.arange(side) - (side - 1) / 2) / factor + (side - 1) / 2, side)
    )


def contrast(images: np.ndarray, factor: float, _: np.random.Generator) -> np.ndarray:
    """What differs from the picture's mean, each channel's its own, is multiplied by the factor."""
    means = images.mean((1, 2), dtype=np.float32, keepdims=True)
    return _levels(means + factor * (images - means))


def brightness(images: np.ndarray, share: float, _: np.random.Generator) -> np.ndarray:
    """That share of 255 is added to HSV's value, the largest of the channels, up to white; hue and saturation stay."""
    values = images.max(3, keepdims=True).astype(np.float32)
    lifted = np.minimum(values + 255 * share, 255)
    return _levels(np.where(values > 0, images * (lifted / np.maximum(values, 1)), lifted))


def occlusion(images: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Behind a box of mid-grey, of that share of each side, anywhere in the picture.

    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, occlude with grey too.
    """
    sides = np.array(images.shape[1:3])
    box = np.rint(share * sides).astype(np.int64)
    corner = (generator.random((len(images), 2)) * (sides - box + 1)).astype(np.int64)
    down, right = (np.arange(side) - corner[:, [axis]] for axis, side in enumerate(sides))  # from the box's corner
    inside = ((down >= 0) & (down < box[0]))[:, :, None] & ((right >= 0) & (right < box[1]))[:, None, :]
    return np.where(inside[..., None], np.uint8(128), images)


def jpeg(images: np.ndarray, quality: int, _: np.random.Generator) -> np.ndarray:
    """Compressed as JPEG, in colour with half as many samples of it along each side, and read again."""
    return np.array(
        [_recompressed(image.squeeze(2) if image.shape[2] == 1 else image, quality) for image in images]
    ).reshape(images.shape)


def pixelate(images: np.ndarray, share: float, _: np.random.Generator) -> np.ndarray:
    """Made smaller, to that share of each side, and large again, with Pillow's box filter: blocks of one colour."""

    def matrix(side: int) -> np.ndarray:
        small = Image.fromarray(np.eye(side, dtype=np.float32)).resize(
            (side, max(1, int(share * side))), Image.Resampling.BOX
        )
        return np.asarray(small.resize((side, side), Image.Resampling.BOX))

    return _along_sides(images, matrix)


_ALL = (
    gaussian_noise,
    shot_noise,
    impulse_noise,
    gaussian_blur,
    motion_blur,
    shift,
    rotation,
    scale,
    contrast,
    brightness,
    occlusion,
    jpeg,
    pixelate,
)
CORRUPTIONS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    function.__name__: function for function in _ALL
}


def _levels(values: np.ndarray) -> np.ndarray:
    """Grey levels of any size, rounded and clipped to uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _along_sides(images: np.ndarray, matrix: Callable[[int], np.ndarray]) -> np.ndarray:
    """Pictures (N, H, W, C) uint8 of which every column is multiplied by `matrix(H)` (H, H), every row by `matrix(W)` (W, W)."""
    rows, columns = (matrix(side).astype(np.float32) for side in images.shape[1:3])
    return _levels(np.moveaxis(rows @ np.moveaxis(images, 3, 1).astype(np.float32) @ columns.T, 1, 3))


def _bilinear(places: np.ndarray, side: int) -> np.ndarray:
    """How much of each pixel of a `side` is at `places` (...), in pixels from the first one's middle: (..., side) float64."""
    return np.maximum(1 - np.abs(places[..., None] - np.arange(side)), 0)


@lru_cache(maxsize=len(SEVERITIES))
def _poisson_levels(photons: float) -> np.ndarray:
    """Quantiles (256, Q) uint8 of each grey level's Poisson distribution, as grey levels; white has so many photons."""
    counts = np.arange(photons + 6 * photons**0.5 + 6)
    shares = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    distributions = special.pdtr(counts, np.arange(256)[:, None] * photons / 255)  # cumulative
    return _levels(
        np.array([np.searchsorted(distribution, shares) for distribution in distributions]) * (255 / photons)
    )


def _recompressed(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file, formats=("JPEG",)))
