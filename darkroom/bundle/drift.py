"""Whether the pictures that a classifier is shown still look like those of validation.

Three things are watched of each picture: its brightness, the confidence of the answer, which is the largest probability, and
the class that is predicted. Labels are not needed.
"""

import math
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

FEATURES = ("brightness", "confidence", "class")
BINS = 10  # of brightness and confidence
WINDOW = 2000  # pictures
WARNING, ALARM = (
    0.1,
    0.2,
)  # of the stability index: by the usual rule little has changed below the one, and much above the other
FLOOR = 1e-4  # the share that an empty bin counts with

_LUCK = 3.719  # the normal quantile of 1 - 1e-4


def reference(images: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """What pictures (N, H, W, C) uint8 and their answers (N, K) are like, as plain values for JSON; N at least 1.

    `samples` is N. By feature, `shares` are those of the bins; `edges` lie between them, and the outermost are open. Of
    brightness and confidence each bin holds about a tenth, or a larger part where N is too small for ten (see `least`); a
    value that fills more than one has a bin for itself. A bin of the class is a class, by index.
    """
    described = {}
    for feature, values in _values(brightness(images), probabilities).items():
        edges = np.arange(1, probabilities.shape[1]) if feature == "class" else _edges(values)
        counts = np.bincount(_bins(edges, values), minlength=len(edges) + 1)
        described[feature] = {"edges": edges.tolist(), "shares": (counts / len(values)).tolist()}
    return {"samples": len(images), **described}


def require_reference(given: Mapping[str, Any], classes: int) -> None:
    """Raises ValueError, KeyError or TypeError where `given` is not what `reference` makes of answers of so many classes."""
    for feature in FEATURES:
        edges, shares = given[feature]["edges"], given[feature]["shares"]
        fits = len(shares) == len(edges) + 1 and list(edges) == (
            list(range(1, classes)) if feature == "class" else sorted(set(edges))
        )
        if not (fits and min(shares) >= 0 and math.isclose(sum(shares), 1) and given["samples"] > 0):
            raise ValueError("its reference is of other classes or bins")


def brightness(images: np.ndarray) -> np.ndarray:
    """The mean of each picture (N, H, W, C) uint8 over pixels and channels, (N,) float64, 0..255."""
    return images.mean(axis=(1, 2, 3), dtype=np.float64)


def stability(expected: np.ndarray, observed: np.ndarray) -> float:
    """The population stability index of two distributions over the same bins, counts or shares (B,), each with a sum above 0.

    The sum over the bins of (o - e) ln(o / e), of shares o and e; 0 where they are the same, symmetric, without an upper bound.
    Siddiqi, "Credit risk scorecards", 2006; first of all Jeffreys, "An invariant form for the prior probability in estimation
    problems", Proceedings of the Royal Society A, 1946. An empty bin, whose logarithm there is not, counts as FLOOR.
    """
    e, o = (np.maximum(np.asarray(some) / np.sum(some), FLOOR) for some in (expected, observed))
    return float(((o - e) * np.log(o / e)).sum())


def least(bins: int) -> int:
    """How many pictures both reference and window must have for the index over so many bins to tell more than luck.

    Of samples of m and n pictures of one distribution the index is not 0: it is distributed as 1/m + 1/n times chi-square with
    bins - 1 degrees of freedom, so its mean is (bins - 1) (1/m + 1/n). Yurdakul, "Statistical properties of population stability
    index", 2018. With so many in each it reaches WARNING once in 10,000 samples. Where some bins can expect but a few pictures, luck
    goes further: simulated, up to 1 in 100 samples reached WARNING, and 1 in 10,000 ALARM. The quantile of chi-square is by
    Wilson and Hilferty, "The distribution of chi-square", PNAS, 1931.
    """
    freedom = max(1, bins - 1)
    spread = 2 / (9 * freedom)
    return math.ceil(2 / WARNING * freedom * (1 - spread + _LUCK * math.sqrt(spread)) ** 3)


class Watch:
    """Compares the last pictures with a reference; may be used from several threads.

    It holds the last `window` of them, or more where the index needs more (see `least`), in 12 bytes each.
    """

    def __init__(self, reference: Mapping[str, Any], window: int = WINDOW) -> None:
        """`reference` is what the function of this name made."""
        self._edges = {feature: np.array(reference[feature]["edges"]) for feature in FEATURES}
        self._expected = {feature: np.array(reference[feature]["shares"]) for feature in FEATURES}
        needs = {feature: least(len(shares)) for feature, shares in self._expected.items()}
        self._needs = {feature: need for feature, need in needs.items() if need <= reference["samples"]}
        ends = np.cumsum([len(shares) for shares in self._expected.values()])
        self._counts = np.zeros(ends[-1], np.int64)  # of all bins, a feature's behind another's
        self._starts = np.array([0, *ends[:-1]])
        self._window = np.zeros(
            (max(window, *self._needs.values(), 1), len(FEATURES)), np.int32
        )  # which bin, a row a picture; a ring
        self._seen = 0
        self._lock = threading.Lock()

    def see(self, brightness: np.ndarray, probabilities: np.ndarray) -> None:
        """Takes in n pictures, oldest first: their brightness (n,), see the function of this name, and their answers (n, K)."""
        size = len(self._window)
        values = _values(brightness[-size:], probabilities[-size:])
        bins = np.column_stack([_bins(self._edges[feature], values[feature]) for feature in FEATURES]) + self._starts
        with self._lock:
            numbers = self._seen + np.arange(len(bins))
            places = numbers % size
            np.subtract.at(self._counts, self._window[places[numbers >= size]], 1)
            np.add.at(self._counts, bins, 1)
            self._window[places] = bins
            self._seen += len(bins)

    def scores(self) -> dict[str, float]:
        """The stability index by feature, without those for which window or reference has too few pictures (see `least`)."""
        with self._lock:
            counts, held = self._counts.copy(), min(self._seen, len(self._window))
        observed = dict(zip(FEATURES, np.split(counts, self._starts[1:]), strict=True))
        return {
            feature: stability(self._expected[feature], observed[feature])
            for feature, need in self._needs.items()
            if held >= need
        }


def _values(brightness: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """A number a picture by feature; of the confidence four digits, since more depend on how a machine rounds."""
    confidence = probabilities.max(1).astype(np.float64).round(4)
    return dict(zip(FEATURES, (brightness, confidence, probabilities.argmax(1)), strict=True))


def _edges(values: np.ndarray) -> np.ndarray:
    """Increasing edges (B - 1,) float64 between bins that hold equal parts of values (N,)."""
    bins = max((bins for bins in range(2, BINS + 1) if least(bins) <= len(values)), default=2)
    edges, repeats = np.unique(np.quantile(values, np.arange(1, bins) / bins), return_counts=True)
    return np.union1d(edges, np.nextafter(edges[repeats > 1], np.inf))


def _bins(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which bin each of values (n,) belongs to, (n,) int64; an edge belongs to the bin above it."""
    return np.searchsorted(edges, values, side="right")
