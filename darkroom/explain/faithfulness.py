"""How faithful maps of attributions are to the network: deletion and insertion of pixels in their order."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from torch import nn

from darkroom.core.randomness import numpy_generator
from darkroom.explain.attribution import PART
from darkroom.models.inference import predict, probabilities

ORDERS = 5  # random ones, whose mean is what the methods are compared with


def curves(
    network: nn.Module,
    images: np.ndarray,
    targets: np.ndarray,
    maps: Mapping[str, np.ndarray],
    mean: Sequence[float],
    std: Sequence[float],
    steps: int = 25,
) -> pd.DataFrame:
    """How the probability of `targets` (n,) int64 changes as the pixels of images (n, H, W, C) uint8 go, and come, in the order of each map (n, H, W).

    A row a method and step, the last for `ORDERS` random orders: method, share of the pixels, deletion (the sooner it falls the better) and
    insertion (the sooner it rises the better), means over the pictures. Petsiuk, Das and Saenko, "RISE: randomized input sampling for
    explanation of black-box models", BMVC 2018.

    A pixel that is gone shows the blurred picture. One colour for all would draw edges that no picture has, the more of them the
    more random the order, so that a random one would look best. Pixels of equal value come in random order, the same in every run.
    """
    n, height, width, _ = images.shape
    blurred = gaussian_filter(images, (0, height * PART, width * PART, 0), output=np.float32).round().astype(np.uint8)
    counts = np.linspace(0, height * width, steps + 1).round()
    random = numpy_generator(0, "order of equal pixels")
    tables = []
    for method, values in [*maps.items(), *[("random", np.zeros((n, height, width)))] * ORDERS]:
        ranks = np.lexsort((random.random((n, height * width)), -values.reshape(n, -1))).argsort(1)
        first = (ranks[:, None] < counts[:, None]).reshape(n, steps + 1, height, width, 1)
        curve = {"method": method, "share": counts / (height * width)}
        for name, shown in (("deletion", ~first), ("insertion", first)):
            altered = np.where(shown, images[:, None], blurred[:, None]).reshape(-1, *images.shape[1:])
            answers = probabilities(predict(network, altered, mean, std)).reshape(n, steps + 1, -1)
            curve[name] = answers[np.arange(n), :, targets].mean(0)
        tables.append(pd.DataFrame(curve))
    return pd.concat(tables).groupby(["method", "share"], sort=False, as_index=False).mean()


def areas(curves: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The areas under the curves of `curves`, by method: of deletion (the lower the better) and insertion (the higher the better)."""
    return {
        str(method): {name: float(np.trapezoid(curve[name], curve["share"])) for name in ("deletion", "insertion")}
        for method, curve in curves.groupby("method", sort=False)
    }


def summary(areas: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The numbers of metrics/explain.json: `<method>_deletion` and `<method>_insertion`."""
    return {f"{method}_{name}": value for method, scores in areas.items() for name, value in scores.items()}


def sentence(areas: Mapping[str, Mapping[str, float]], images: int) -> str:
    """One line about the result of `areas`, for the terminal."""
    methods = [method for method in areas if method != "random"]
    best = max(methods, key=lambda method: areas[method]["insertion"])
    scores = ", ".join(f"{name} {value:.3f}" for name, value in areas[best].items())
    return f"{images} test images explained by {len(methods)} methods; highest insertion score: {best} ({scores})"
