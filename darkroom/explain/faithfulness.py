"""Measure how faithful attribution maps are to the network: deletion and insertion of pixels in the order of the map.

Petsiuk, Das and Saenko, "RISE: randomized input sampling for explanation of black-box models", BMVC 2018.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from torch import nn
from tqdm import tqdm

from darkroom.core.randomness import numpy_generator
from darkroom.explain.budget import FINEST, Detail
from darkroom.models.inference import predict, probabilities
from darkroom.statistics.intervals import mean_interval

CURVES = ("deletion", "insertion")  # of the probability: good if it falls early, good if it rises early
RANDOM = "random"  # the method that orders pixels at random
_BATCH = 16  # images altered at a time
_BLUR = 1 / 7  # standard deviation of the blur that removes pixels, as a fraction of the image's side


def sample(total: int, wanted: int, seed: int) -> np.ndarray:
    """Increasing indices (n,) int64 of random images: `wanted`, or all `total` of them."""
    return np.sort(numpy_generator(seed, "images for faithfulness").permutation(total)[:wanted])


def measure(
    network: nn.Module,
    images: np.ndarray,
    targets: np.ndarray,
    maps: Mapping[str, np.ndarray],
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
    detail: Detail = FINEST,
) -> dict[str, np.ndarray]:
    """The probability of the classes `targets` (n,) int64 while pixels are deleted or inserted.

    Pixels of images (n, H, W, C) uint8 are taken in the order of each map (n, H, W), highest value first, in
    `detail.curve_steps` steps of equally many. The result has an array (2, n, steps + 1) float64 for each method:
    deletion and insertion by image and step. The last method is RANDOM, with an order of its own for each image.

    A deleted pixel shows the blurred image. A single colour would draw edges that no real image has, most of them in
    a random order, which would then look best. Pixels of equal value are in random order, which depends on `seed`:
    black pixels have integrated gradients of exactly 0, and in the order of the rows they would favour one side.
    """
    n, height, width, _ = images.shape
    steps = detail.curve_steps
    blurred = gaussian_filter(images, (0, height * _BLUR, width * _BLUR, 0), output=np.float32).round().astype(np.uint8)
    counts = np.linspace(0, height * width, steps + 1).round()[1:-1]
    random = numpy_generator(seed, "order of equal pixels")
    orders = {**maps, RANDOM: np.zeros((n, height, width))}

    def of_target(altered: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The probabilities (m, ...) of `classes` (m,) for images (m, ..., H, W, C)."""
        found = probabilities(predict(network, altered.reshape(-1, *images.shape[1:]), mean, std))
        found = found.reshape(len(altered), -1, found.shape[1])[np.arange(len(altered)), :, classes]
        return found.reshape(altered.shape[:-3])

    ends = np.stack([of_target(images, targets), of_target(blurred, targets)])  # of every order
    found = {name: np.empty((2, n, steps + 1)) for name in orders}
    for name, values in tqdm(orders.items(), "faithfulness", unit="method", leave=False, disable=None):
        ranks = np.lexsort((random.random((n, height * width)), -values.reshape(n, -1))).argsort(1)
        for start in range(0, n, _BATCH):
            part = slice(start, start + _BATCH)
            first = (ranks[part, None] < counts[:, None]).reshape(-1, 1, steps - 1, height, width, 1)
            shown = np.concatenate([~first, first], axis=1)
            altered = np.where(shown, images[part, None, None], blurred[part, None, None])
            found[name][:, part, 1:-1] = of_target(altered, targets[part]).swapaxes(0, 1)
        found[name][..., 0], found[name][..., -1] = ends, ends[::-1]
    return found


def table(curves: Mapping[str, np.ndarray], groups: np.ndarray | None = None) -> pd.DataFrame:
    """The mean over the images of the curves of `measure`, one row per method and step.

    Columns: method, fraction of the pixels, and for deletion and insertion the mean, `_low` and `_high`: 95 %
    confidence intervals of each point. Images of one of `groups` (n,) unicode are not independent.
    """
    rows = []
    for method, values in curves.items():
        steps = values.shape[-1] - 1
        for step in range(steps + 1):
            row = {"method": method, "fraction": step / steps}
            for name, points in zip(CURVES, values[..., step], strict=True):
                low, high = mean_interval(points, groups)  # infinite if the images are of one group
                row |= {name: points.mean(), f"{name}_low": low, f"{name}_high": high}
            rows.append(row)
    return pd.DataFrame(rows).replace([-np.inf, np.inf], np.nan)


def areas(curves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The area (2, n) float64 under each curve of `measure`, by method: deletion (lower is better) and insertion."""
    return {method: np.trapezoid(values, dx=1 / (values.shape[-1] - 1), axis=-1) for method, values in curves.items()}
