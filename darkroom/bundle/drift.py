"""Drift detection: whether the images that a classifier gets still resemble the validation set.

Three features of each image are compared: brightness, confidence (the largest probability), and predicted class. Labels
are not needed.
"""

import math
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

FEATURES = ("brightness", "confidence", "class")
BINS = 10  # of brightness and confidence
WINDOW = 2000  # images
WARNING, ALARM = 0.1, 0.2  # of the stability index; by the usual rule, a small and a large change
FLOOR = 1e-4  # the fraction that an empty bin counts as

_QUANTILE = 3.719  # of the standard normal distribution at 1 - 1e-4


def reference(images: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Describe images (N, H, W, C) uint8, denoised, and their probabilities (N, K) as values for JSON; N at least 1.

    `samples` is N. Each feature has `fractions` of its bins and the `edges` between them; the outermost bins are open.
    A bin of brightness or confidence holds about a tenth, or more if N is too small for ten bins (see `min_samples`). A
    value that fills more than one bin gets its own. The bins of the class are the classes, by index.
    """
    described = {}
    for feature, values in _values(brightness(images), probabilities).items():
        edges = np.arange(1, probabilities.shape[1]) if feature == "class" else _edges(values)
        counts = np.bincount(_bins(edges, values), minlength=len(edges) + 1)
        described[feature] = {"edges": edges.tolist(), "fractions": (counts / len(values)).tolist()}
    return {"samples": len(images), **described}


def require_reference(given: Mapping[str, Any], classes: int) -> None:
    """Raise ValueError, KeyError or TypeError if `given` is not a result of `reference` with `classes` classes."""
    for feature in FEATURES:
        edges, fractions = given[feature]["edges"], given[feature]["fractions"]
        expected = list(range(1, classes)) if feature == "class" else sorted(set(edges))
        fits = list(edges) == expected and len(fractions) == len(edges) + 1
        if not (fits and min(fractions) >= 0 and math.isclose(sum(fractions), 1) and given["samples"] > 0):
            raise ValueError(f"the bins of reference.{feature} are invalid")


def brightness(images: np.ndarray) -> np.ndarray:
    """The mean of each image (N, H, W, C) uint8 over pixels and channels, (N,) float64, 0..255."""
    return images.mean(axis=(1, 2, 3), dtype=np.float64)


def stability(expected: np.ndarray, observed: np.ndarray) -> float:
    """The population stability index of two distributions over the same bins: counts or fractions (B,).

    It is the sum of (o - e) ln(o / e) over the bins, for fractions o and e: 0 if they are equal, symmetric, unbounded.
    An empty bin, which has no logarithm, counts as FLOOR. Neither may be empty in all bins. Siddiqi, "Credit risk
    scorecards", 2006; first in Jeffreys, "An invariant form for the prior probability in estimation problems",
    Proceedings of the Royal Society A, 1946.
    """
    e, o = (np.maximum(np.asarray(some) / np.sum(some), FLOOR) for some in (expected, observed))
    return float(((o - e) * np.log(o / e)).sum())


def min_samples(bins: int) -> int:
    """The number of images that reference and window need for the index over `bins` bins to be more than chance.

    For samples of m and n images from one distribution, the index is distributed as 1/m + 1/n times chi-square with
    bins - 1 degrees of freedom, so its mean is (bins - 1) (1/m + 1/n) (Yurdakul, "Statistical properties of population
    stability index", 2018). With this many images in each, it reaches WARNING in 1 of 10,000 samples. With few images
    expected in some bins, chance has more effect: in simulations, up to 1 in 100 samples reached WARNING, and 1 in
    10,000 reached ALARM. The quantile of chi-square is from Wilson and Hilferty, "The distribution of chi-square",
    PNAS, 1931.
    """
    freedom = max(1, bins - 1)
    spread = 2 / (9 * freedom)
    return math.ceil(2 / WARNING * freedom * (1 - spread + _QUANTILE * math.sqrt(spread)) ** 3)


class Watch:
    """Compares the latest images with a reference. Thread-safe.

    It holds the latest `window` images, or more if the index needs more (see `min_samples`), with 12 bytes for each.
    """

    def __init__(self, reference: Mapping[str, Any], window: int = WINDOW) -> None:
        """`reference` is a result of the function `reference`."""
        self._edges = {feature: np.array(reference[feature]["edges"]) for feature in FEATURES}
        self._expected = {feature: np.array(reference[feature]["fractions"]) for feature in FEATURES}
        needs = {feature: min_samples(len(fractions)) for feature, fractions in self._expected.items()}
        self._needs = {feature: need for feature, need in needs.items() if need <= reference["samples"]}
        ends = np.cumsum([len(fractions) for fractions in self._expected.values()])
        self._counts = np.zeros(ends[-1], np.int64)  # of all bins, one feature after the other
        self._starts = np.array([0, *ends[:-1]])
        size = max(window, *self._needs.values(), 1)
        self._window = np.zeros((size, len(FEATURES)), np.int32)  # the bins of each image; a ring buffer
        self._seen = 0
        self._lock = threading.Lock()

    def see(self, brightness: np.ndarray, probabilities: np.ndarray) -> None:
        """Add n images, oldest first: their `brightness` (n,) and probabilities (n, K)."""
        size = len(self._window)
        values = _values(brightness[-size:], probabilities[-size:])
        bins = np.column_stack([_bins(self._edges[feature], values[feature]) for feature in FEATURES]) + self._starts
        with self._lock:
            numbers = self._seen + np.arange(len(bins))
            indices = numbers % size
            np.subtract.at(self._counts, self._window[indices[numbers >= size]], 1)
            np.add.at(self._counts, bins, 1)
            self._window[indices] = bins
            self._seen += len(bins)

    def scores(self) -> dict[str, float]:
        """The stability index by feature; features with too few images (see `min_samples`) are missing."""
        with self._lock:
            counts, held = self._counts.copy(), min(self._seen, len(self._window))
        observed = dict(zip(FEATURES, np.split(counts, self._starts[1:]), strict=True))
        return {
            feature: stability(self._expected[feature], observed[feature])
            for feature, need in self._needs.items()
            if held >= need
        }


def _values(brightness: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """One number per image, by feature. Confidence has four digits: further ones depend on the machine's rounding."""
    confidence = probabilities.max(1).astype(np.float64).round(4)
    return dict(zip(FEATURES, (brightness, confidence, probabilities.argmax(1)), strict=True))


def _edges(values: np.ndarray) -> np.ndarray:
    """Increasing edges (B - 1,) float64 between bins that hold equally many of values (N,)."""
    bins = max((bins for bins in range(2, BINS + 1) if min_samples(bins) <= len(values)), default=2)
    edges, repeats = np.unique(np.quantile(values, np.arange(1, bins) / bins), return_counts=True)
    return np.union1d(edges, np.nextafter(edges[repeats > 1], np.inf))


def _bins(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The bin of each of values (n,), as (n,) int64; an edge belongs to the bin above it."""
    return np.searchsorted(edges, values, side="right")
