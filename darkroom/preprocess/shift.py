"""Check whether unlabelled images come from the distribution of the labelled training images.

A classifier two-sample test (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017): a linear
discriminant learns on one half of the images to tell unlabelled from labelled ones, and is tested on the other half. If
both have one distribution, it cannot do better than chance. It sees a coarse image, brightness, contrast and sharpness.
"""

import math
from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from darkroom.core import arrays
from darkroom.core.arrays import Split
from darkroom.core.randomness import numpy_generator

MAX_IMAGES = 4000  # labelled ones, and unlabelled ones: more cost time and show only smaller differences
MIN_IMAGES = 20  # of each: with fewer, the interval says nothing
ALARM = 0.55  # an AUC that is certainly above it is worth a warning ...
MAX_P_VALUE = 0.001  # ... if chance does not explain it: the interval is too narrow for few images

_CELLS = 8  # per side of the coarse image
_BLOCK = 500  # images in memory at a time
_Z = 1.959964  # of the 95 % interval


@dataclass(frozen=True)
class Shift:
    """How well unlabelled images can be told from labelled training images."""

    auc: float  # 0.5: not at all; 1: without error
    low: float  # 95 % confidence interval (DeLong et al. 1988)
    high: float
    p_value: float  # one-sided Mann-Whitney test of 0.5
    labelled: int  # images looked at
    unlabelled: int

    @property
    def warning(self) -> str:
        """What is wrong and what to do if the distributions clearly differ; else an empty string."""
        if self.low <= ALARM or self.p_value > MAX_P_VALUE:
            return ""
        return (
            f"a linear classifier tells unlabelled from labelled training images (AUC {self.auc:.2f}, 95 % interval "
            f"{self.low:.2f} to {self.high:.2f}; 0.5 if they are alike): semi-supervised learning may do harm. Look at "
            "metrics/data/samples.png, and remove unlabelled images of other kinds."
        )


def measure(train: Split, unlabelled: Split, seed: int, left_out: Container[str] = ()) -> Shift | None:
    """Compare random images of both splits; None if either has fewer than MIN_IMAGES.

    The training images with the ids `left_out` are not compared: those that a strategy chose among the unlabelled ones
    differ from these because it did.
    """
    own = np.array([number for number, name in enumerate(train.ids.tolist()) if name not in left_out], dtype=np.int64)
    named = (("labelled", train, own), ("unlabelled", unlabelled, np.arange(len(unlabelled))))
    if min(len(indices) for *_, indices in named) < MIN_IMAGES:
        return None
    orders = [
        indices[numpy_generator(seed, "shift", name).permutation(len(indices))[:MAX_IMAGES]]
        for name, _, indices in named
    ]
    features = [_features_of(split, order) for (_, split, _), order in zip(named, orders, strict=True)]
    weights = _discriminant(*(part[::2] for part in features))
    scores = [part[1::2] @ weights for part in features]
    auc, deviation = _auc(*scores)
    m, n = map(len, scores)
    z = (auc - 0.5) / math.sqrt((m + n + 1) / (12 * m * n))
    return Shift(
        auc=auc,
        low=max(0.0, auc - _Z * deviation),
        high=min(1.0, auc + _Z * deviation),
        p_value=0.5 * math.erfc(z / math.sqrt(2)),
        labelled=len(features[0]),
        unlabelled=len(features[1]),
    )


def describe(images: np.ndarray) -> np.ndarray:
    """Features (N, D) float64 of images (N, H, W, C) uint8.

    By channel: the means of up to 8 x 8 cells, the standard deviation, and the mean absolute differences of neighbours.
    """
    values = images.astype(np.float64)
    cells = values
    for axis in (1, 2):
        starts = np.unique(np.linspace(0, values.shape[axis], _CELLS, endpoint=False).astype(int))
        widths = np.diff(np.append(starts, values.shape[axis]))
        shape = [1, 1, 1, 1]
        shape[axis] = len(widths)
        cells = np.add.reduceat(cells, starts, axis=axis) / widths.reshape(shape)
    slopes = [np.abs(np.diff(values, axis=axis)).mean((1, 2)) for axis in (1, 2) if values.shape[axis] > 1]
    return np.concatenate([cells.reshape(len(values), -1), values.std((1, 2)), *slopes], axis=1)


def _features_of(split: Split, indices: np.ndarray) -> np.ndarray:
    found = []
    for start in range(0, len(indices), _BLOCK):
        some = indices[start : start + _BLOCK]
        images = np.empty((len(some), *split.inputs.shape[1:]), np.uint8)
        arrays.read_into(images, split.inputs, some)
        found.append(describe(images))
    return np.concatenate(found)


def _discriminant(labelled: np.ndarray, unlabelled: np.ndarray) -> np.ndarray:
    """Weights (D,) of Fisher's linear discriminant between two samples (n, D), with a shrunk covariance."""
    centred = np.concatenate([part - part.mean(0) for part in (labelled, unlabelled)])
    count, size = centred.shape
    scale = np.sqrt((centred**2).mean(0))
    scale = np.where(scale > 0, scale, 1.0)
    centred /= scale
    shrinkage = size / (size + count)
    covariance = (1 - shrinkage) * (centred.T @ centred) / count + shrinkage * np.eye(size)
    return np.linalg.solve(covariance, (unlabelled.mean(0) - labelled.mean(0)) / scale) / scale


def _auc(negative: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve of scores (m,) and (n,), and its standard deviation by DeLong's method."""
    placements = []
    for one, other, sign in ((positive, negative, 1), (negative, positive, -1)):
        ordered = np.sort(sign * other)
        below = np.searchsorted(ordered, sign * one, "left") + np.searchsorted(ordered, sign * one, "right")
        placements.append(below / (2 * len(other)))
    variance = sum(part.var(ddof=1) / len(part) for part in placements)
    return float(placements[0].mean()), math.sqrt(variance)
