"""Drift detection: whether the images that a classifier gets still resemble the validation set.

Three features of each image are compared: brightness, confidence (the largest probability), and predicted class; of a
text its length in tokens and its number of unknown tokens instead of the brightness, of a row of a table each column,
of a history its length, its unknown items, and the popularity of the most probable item.
Labels are not needed. The index (darkroom.bundle.stability.py) describes the latest images at any time. The p-values
describe the last complete window, so that nobody has to count how often they were read.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from darkroom.bundle import stability

FEATURES = ("brightness", "confidence", "class")
OF_KIND = {
    "image": FEATURES,
    "text": ("length", "unknown", "confidence", "class"),
    "history": ("length", "unknown", "popularity", "confidence"),  # classes are too many to compare
}
SAMPLES = "samples"  # in a reference: how many examples it describes
WINDOW = 2000  # images


@dataclass(frozen=True)
class Report:
    """What a `Watch` has found. A feature is missing in `indices` and `p_values` where too few images were seen."""

    images: int  # that the indices describe, the latest ones: at most `window`
    window: int
    windows: int  # complete ones so far, one after the other without overlap
    indices: Mapping[str, float]  # population stability index by feature
    p_values: Mapping[str, float]  # by feature, of the last complete window; corrected for all features and windows


def reference(images: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Describe images (N, H, W, C) uint8, denoised, and their probabilities (N, K) as values for JSON; N at least 1.

    `samples` is N. Each feature has `fractions` of its bins and the `edges` between them; the outermost bins are open.
    The bins of brightness and confidence are those of `stability.edges`: each holds about a tenth, or more if N is
    small. The bins of the class are the classes, by index; those of unknown tokens are none and some.
    """
    return reference_of("image", brightness(images), probabilities)


def reference_of(kind: str, measured: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """As `reference`, for examples of a kind of OF_KIND, given its first features `measured`, (N,) or (N, F)."""
    return reference_by(OF_KIND[kind], measured, probabilities)


def reference_by(features: Sequence[str], measured: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """As `reference`, given the values `measured` (N,) or (N, F) of all features but confidence and class.

    A value that is missing is -inf, and has a bin of its own if there are any.
    """
    return described(features, measured, probabilities.max(1), probabilities.argmax(1), probabilities.shape[1])


def described(
    features: Sequence[str], measured: np.ndarray, confidence: np.ndarray, predicted: np.ndarray, classes: int
) -> dict[str, Any]:
    """As `reference_by`, given the largest probability (N,) of each example and its class (N,), of so many classes."""
    found, fixed = {SAMPLES: len(measured)}, {"class": np.arange(1, classes), "unknown": np.ones(1)}
    for feature, values in _values(features, measured, confidence, predicted).items():
        edges = fixed[feature] if feature in fixed else _edges(values)
        counts = stability.binned(edges, values)
        found[feature] = {"edges": edges.tolist(), "fractions": (counts / len(values)).tolist()}
    return found


def require_reference(given: Mapping[str, Any], classes: int, kind: str = "image") -> None:
    """Raise ValueError, KeyError or TypeError if `given` is not a result of `reference` with `classes` classes."""
    found = OF_KIND.get(kind, features(given))
    if kind not in OF_KIND and found[-2:] != FEATURES[-2:]:
        raise ValueError(f"the reference describes {', '.join(found)}")
    for feature in found:
        edges, fractions = given[feature]["edges"], given[feature]["fractions"]
        expected = list(range(1, classes)) if feature == "class" else sorted(set(edges))
        fits = list(edges) == expected and len(fractions) == len(edges) + 1
        if not (fits and min(fractions) >= 0 and math.isclose(sum(fractions), 1) and given["samples"] > 0):
            raise ValueError(f"the bins of reference.{feature} are invalid")


def features(reference: Mapping[str, Any]) -> tuple[str, ...]:
    """The features that a reference describes, in their order."""
    return tuple(name for name in reference if name != SAMPLES)


def _edges(values: np.ndarray) -> np.ndarray:
    """The edges between bins of values (N,), of which missing ones are -inf."""
    held = values[np.isfinite(values)]
    if len(held) == len(values):
        return stability.edges(values)
    return np.unique([held.min(), *stability.edges(held)]) if len(held) else np.zeros(1)


def brightness(images: np.ndarray) -> np.ndarray:
    """The mean of each image (N, H, W, C) uint8 over pixels and channels, (N,) float64, 0..255."""
    return images.mean(axis=(1, 2, 3), dtype=np.float64)


class Watch:
    """Compares the latest images with a reference. Thread-safe.

    It holds the latest `window` images, or more if the index needs more (see `stability.min_samples`), with 12 bytes
    for each.
    """

    def __init__(self, reference: Mapping[str, Any], window: int = WINDOW) -> None:
        """`reference` is a result of the function `reference`."""
        self.features = features(reference)
        self._edges = {feature: np.array(reference[feature]["edges"]) for feature in self.features}
        self._expected = {
            feature: np.round(np.array(reference[feature]["fractions"]) * reference["samples"])
            for feature in self.features
        }
        needs = {feature: stability.min_samples(len(counts)) for feature, counts in self._expected.items()}
        self._needs = {feature: need for feature, need in needs.items() if need <= reference["samples"]}
        ends = np.cumsum([len(counts) for counts in self._expected.values()])
        self._counts = np.zeros(ends[-1], np.int64)  # of all bins, one feature after the other
        self._starts = np.array([0, *ends[:-1]])
        size = max(window, *self._needs.values(), 1)
        self._window = np.zeros((size, len(self.features)), np.int32)  # the bins of each image; a ring buffer
        self._seen = 0
        self._p_values: dict[str, float] = {}
        self._lock = threading.Lock()

    def see(self, measured: np.ndarray, probabilities: np.ndarray) -> None:
        """Add n examples, oldest first: the features `measured` (n,) or (n, F), and probabilities (n, K)."""
        size = len(self._window)
        values = _values(self.features, measured, probabilities.max(1), probabilities.argmax(1))
        bins = [stability.bins(self._edges[feature], values[feature]) for feature in self.features]
        added = np.column_stack(bins) + self._starts
        with self._lock:
            while len(added):
                index = self._seen % size
                part, added = added[: size - index], added[size - index :]
                place = self._window[index : index + len(part)]
                if self._seen >= size:
                    np.subtract.at(self._counts, place, 1)
                np.add.at(self._counts, part, 1)
                place[:] = part
                self._seen += len(part)
                if self._seen % size == 0:
                    self._p_values = self._tested(self._seen // size)

    def report(self) -> Report:
        """What is known now."""
        with self._lock:
            observed, seen, p_values, size = self._observed(), self._seen, self._p_values, len(self._window)
        held = min(seen, size)
        indices = {
            feature: stability.stability(self._expected[feature], observed[feature])
            for feature, need in self._needs.items()
            if held >= need
        }
        return Report(held, size, seen // size, indices, p_values)

    def _tested(self, number: int) -> dict[str, float]:
        """The p-values of the window of this number, from 1.

        The sum of 1 / (n (n + 1)) over all windows n is 1. By Bonferroni's inequality, the probability that any feature
        of any window ever gets a p-value below x by chance is at most x, however often they are read.
        """
        observed, tests = self._observed(), len(self._needs) * number * (number + 1)
        return {
            feature: min(1.0, tests * stability.p_value(self._expected[feature], observed[feature]))
            for feature in self._needs
        }

    def _observed(self) -> dict[str, np.ndarray]:
        """The counts by feature."""
        return dict(zip(self.features, np.split(self._counts.copy(), self._starts[1:]), strict=True))


def _values(
    features: Sequence[str], measured: np.ndarray, confidence: np.ndarray, predicted: np.ndarray
) -> dict[str, np.ndarray]:
    """One number per image, by feature. Confidence has four digits: further ones depend on the machine's rounding."""
    confidence = confidence.astype(np.float64).round(4)
    columns = [measured] if measured.ndim == 1 else list(measured.T)
    found = [*columns, confidence, predicted] if features[-1] == "class" else [*columns, confidence]
    return dict(zip(features, found, strict=True))
