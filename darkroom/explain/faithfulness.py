"""Measure how faithful attribution maps are to the network: deletion and insertion of pixels in the order of the map.

Petsiuk, Das and Saenko, "RISE: randomized input sampling for explanation of black-box models", BMVC 2018.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from torch import nn

from darkroom.core.randomness import numpy_generator
from darkroom.core.spelling import counted
from darkroom.models.inference import predict, probabilities

RANDOM_ORDERS = 5  # whose mean the methods are compared with
_BLUR = 1 / 7  # standard deviation of the blur that removes pixels, as a fraction of the image's side


def curves(
    network: nn.Module,
    images: np.ndarray,
    targets: np.ndarray,
    maps: Mapping[str, np.ndarray],
    mean: Sequence[float],
    std: Sequence[float],
    steps: int = 25,
) -> pd.DataFrame:
    """The mean probability of the classes `targets` (n,) int64 while pixels are deleted or inserted.

    Pixels of images (n, H, W, C) uint8 are taken in the order of each map (n, H, W), highest value first. One row per
    method and step, with the method `random` last: method, fraction of the pixels, deletion (good if it falls early),
    insertion (good if it rises early).

    A deleted pixel shows the blurred image. A single colour would draw edges that no real image has, most of them in
    a random order, which would then look best. Pixels of equal value are in random order, the same in every run.
    """
    n, height, width, _ = images.shape
    blurred = gaussian_filter(images, (0, height * _BLUR, width * _BLUR, 0), output=np.float32).round().astype(np.uint8)
    counts = np.linspace(0, height * width, steps + 1).round()
    random = numpy_generator(0, "order of equal pixels")
    tables = []
    for method, values in [*maps.items(), *[("random", np.zeros((n, height, width)))] * RANDOM_ORDERS]:
        ranks = np.lexsort((random.random((n, height * width)), -values.reshape(n, -1))).argsort(1)
        first = (ranks[:, None] < counts[:, None]).reshape(n, steps + 1, height, width, 1)
        curve = {"method": method, "fraction": counts / (height * width)}
        for name, shown in (("deletion", ~first), ("insertion", first)):
            altered = np.where(shown, images[:, None], blurred[:, None]).reshape(-1, *images.shape[1:])
            predicted = probabilities(predict(network, altered, mean, std)).reshape(n, steps + 1, -1)
            curve[name] = predicted[np.arange(n), :, targets].mean(0)
        tables.append(pd.DataFrame(curve))
    return pd.concat(tables).groupby(["method", "fraction"], sort=False, as_index=False).mean()


def areas(curves: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Areas under the curves by method: `deletion` (lower is better) and `insertion` (higher is better)."""
    return {
        str(method): {name: float(np.trapezoid(curve[name], curve["fraction"])) for name in ("deletion", "insertion")}
        for method, curve in curves.groupby("method", sort=False)
    }


def summary(areas: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The numbers of metrics/explain.json: `<method>_deletion` and `<method>_insertion`."""
    return {f"{method}_{name}": value for method, scores in areas.items() for name, value in scores.items()}


def summary_line(areas: Mapping[str, Mapping[str, float]], images: int) -> str:
    """The result of `areas` in one line, for the terminal."""
    methods = [method for method in areas if method != "random"]
    best = max(methods, key=lambda method: areas[method]["insertion"])
    return (
        f"{counted(images, 'test image')} explained by {counted(len(methods), 'method')}; highest insertion score: "
        f"{best} {areas[best]['insertion']:.3f} (random order {areas['random']['insertion']:.3f})"
    )
