"""How much of something else the classifier answers: inputs that show none of its classes.

The stand-ins are drawn with a fixed seed and need no download. An input is told from the test images by its confidence
(Hendrycks and Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in neural networks",
ICLR 2017).
"""

from collections.abc import Callable, Mapping
from importlib.metadata import distribution

import numpy as np
from PIL import Image

from darkroom.core.randomness import numpy_generator

LIMIT = 1000  # inputs of each kind
_TILES = 4  # per side


def stand_ins(images: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs (n, H, W, C) uint8 of each kind, from test images (N, H, W, C) uint8; n is N, at most LIMIT.

    noise    independent uniform grey levels
    blocks   random colours in 2 x 2 to 8 x 8 blocks: coarse structure without an object
    tiles    test images cut into 4 x 4 tiles, which are shuffled
    photos   parts of scikit-learn's two photographs, a temple and a flower, of random place and size

    Other data sets are not read: the result would depend on what else was downloaded.
    """
    chosen = numpy_generator(0, "out of distribution").permutation(len(images))[:LIMIT]
    given = np.asarray(images[np.sort(chosen)])
    return {name: make(given, numpy_generator(0, "out of distribution", name)) for name, make in _KINDS.items()}


def summary(confidence: np.ndarray, others: Mapping[str, np.ndarray], threshold: float | None) -> dict[str, float]:
    """How well confidence tells the test images, (N,), from the stand-ins, (n,) by kind.

    `ood_auroc` is the area under the ROC curve: the probability that a test image has more confidence than a stand-in,
    where ties count half. `ood_answered` is the fraction of the stand-ins with at least the `threshold`; 0 without one.
    Both as the mean over the kinds and by kind.
    """
    auroc = {kind: _auroc(confidence, values) for kind, values in others.items()}
    answered = {kind: _answered(values, threshold) for kind, values in others.items()}
    return {
        "ood_auroc": float(np.mean(list(auroc.values()))),
        **{f"ood_auroc_{kind}": value for kind, value in auroc.items()},
        "ood_answered": float(np.mean(list(answered.values()))),
        **{f"ood_answered_{kind}": value for kind, value in answered.items()},
    }


def _auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """The Mann-Whitney statistic of two samples (N,) and (n,), as a fraction."""
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, "left") + np.searchsorted(ordered, inside, "right")
    return float(below.sum() / (2 * len(inside) * len(outside)))


def _answered(confidence: np.ndarray, threshold: float | None) -> float:
    return 0.0 if threshold is None else float((confidence >= threshold).mean())


def _noise(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 256, images.shape, dtype=np.uint8)


def _blocks(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    _, height, width, channels = images.shape
    made = np.empty_like(images)
    for image, size in zip(made, random.integers(2, 9, len(images)).tolist(), strict=True):
        blocks = random.integers(0, 256, (size, size, channels), dtype=np.uint8)
        image[:] = blocks[np.arange(height) * size // height][:, np.arange(width) * size // width]
    return made


def _tiles(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Rows and columns that do not divide by _TILES keep their place, at the bottom and right."""
    count, height, width, channels = images.shape
    down, across = min(_TILES, height), min(_TILES, width)
    rows, columns = height // down, width // across
    split, joined = (count, down, rows, across, columns, channels), (count, rows * down, columns * across, channels)
    tiles = images[:, : joined[1], : joined[2]].reshape(split).swapaxes(2, 3)
    flat = tiles.reshape(count, down * across, rows, columns, channels)
    order = random.permuted(np.arange(down * across)[None].repeat(count, 0), axis=1)
    shuffled = np.take_along_axis(flat, order[..., None, None, None], axis=1).reshape(tiles.shape)
    made = images.copy()
    made[:, : joined[1], : joined[2]] = shuffled.swapaxes(2, 3).reshape(joined)
    return made


def _photos(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    _, height, width, channels = images.shape
    mode = "L" if channels == 1 else "RGB"
    package = distribution("scikit-learn")  # not imported for two files: it takes half a second
    files = (package.locate_file(f"sklearn/datasets/images/{name}") for name in ("china.jpg", "flower.jpg"))
    photos = [Image.open(file).convert(mode) for file in files]
    made = np.empty_like(images)
    for number, image in enumerate(made):
        photo = photos[number % 2]
        scale = random.uniform(0.25, 1) * min(photo.width / width, photo.height / height)
        part = (scale * width, scale * height)
        left, top = (random.uniform(0, whole - size) for whole, size in zip(photo.size, part, strict=True))
        box = (left, top, left + part[0], top + part[1])
        small = photo.resize((width, height), Image.Resampling.BILINEAR, box)
        image[:] = np.asarray(small).reshape(image.shape)
    return made


_KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "noise": _noise,
    "blocks": _blocks,
    "tiles": _tiles,
    "photos": _photos,
}
