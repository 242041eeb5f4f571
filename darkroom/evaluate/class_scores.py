"""Metrics that weigh classes: macro F1, balanced accuracy and Matthews' correlation, with confidence intervals.

They need no confusion matrix, only counts by class (..., K): how many examples have the class as label, as prediction,
and as both. Classes without test examples are left out of macro F1 and balanced accuracy.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from darkroom.core.randomness import numpy_generator
from darkroom.statistics.groups import INDEPENDENT, design_effect
from darkroom.statistics.intervals import wilson

NAMES = ("macro_f1", "balanced_accuracy", "matthews_correlation")
RESAMPLES = 400  # of the bootstrap
PRIOR = 2  # examples by which the predictions of a class are drawn towards those of an average class
CHUNK = 500_000  # predictions of resamples in memory at a time


@dataclass(frozen=True)
class Counts:
    """Examples by class (..., K), integers or expected numbers."""

    labels: np.ndarray
    predicted: np.ndarray
    both: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, predicted: np.ndarray, classes: int) -> "Counts":
        """The counts (K,) of labels and predicted (N,) int64."""
        columns = labels, predicted, labels[labels == predicted]
        return cls(*(np.bincount(column, minlength=classes) for column in columns))

    def f1(self) -> np.ndarray:
        """F1 (..., K); 0 for a class that neither occurs nor is predicted."""
        return 2 * self.both / np.maximum(self.labels + self.predicted, 1e-9)

    def recall(self) -> np.ndarray:
        """Recall (..., K); 0 for a class without examples."""
        return self.both / np.maximum(self.labels, 1e-9)

    def scores(self) -> np.ndarray:
        """The metrics NAMES (3, ...) float64.

        Matthews' correlation is 0 if all examples have one label, or one prediction: Gorodkin, "Comparing two
        K-category assignments by a K-category correlation coefficient", 2004.
        """
        tested = self.labels > 0
        means = [np.where(tested, by_class, 0).sum(-1) / tested.sum(-1) for by_class in (self.f1(), self.recall())]
        n = self.labels.sum(-1)
        covariance = n * self.both.sum(-1) - (self.labels * self.predicted).sum(-1)
        variances = [np.maximum(n**2 - np.square(column).sum(-1), 0.0) for column in (self.labels, self.predicted)]
        scale = np.sqrt(variances[0] * variances[1])
        return np.stack([*means, covariance / np.where(scale > 0, scale, np.inf)])

    def influences(self, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """The change (3, N) of each metric by one more example like each; from labels and predicted (N,) int64."""
        correct, tested = labels == predicted, self.labels > 0
        f1 = np.where(tested, self.f1(), 0) / np.maximum(self.labels + self.predicted, 1)
        by_f1 = 2 * correct / (self.labels + self.predicted)[labels] - f1[labels] - f1[predicted]
        by_recall = (correct - self.recall()[labels]) / self.labels[labels]
        fractions = [column / len(labels) for column in (self.labels, self.predicted)]
        spread = [max(1 - np.square(fraction).sum(), 1e-9) for fraction in fractions]
        change = correct - fractions[0][predicted] - fractions[1][labels]
        correlation = self.scores()[2]
        stretch = correlation * (fractions[0][labels] / spread[0] + fractions[1][predicted] / spread[1])
        by_correlation = change / np.sqrt(spread[0] * spread[1]) + stretch
        classes = np.count_nonzero(tested)
        found = np.stack([by_f1 / classes, by_recall / classes, by_correlation / len(labels)])
        return found - found.mean(1, keepdims=True)


def summary(labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray | None = None) -> dict[str, float]:
    """The metrics NAMES of labels and predicted (N,) int64, with bounds `_low` and `_high` of 95 % intervals."""
    values, bounds = intervals(labels, predicted, groups)
    found = {}
    for name, value, (low, high) in zip(NAMES, values, bounds, strict=True):
        found |= {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def intervals(
    labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The metrics NAMES (3,), and their 95 % confidence intervals (3, 2).

    Labels and predicted (N,) int64, groups (N,) text: examples of one group depend on each other, "" is in none.

    A stratified bootstrap measures bias and variance: the number of examples of each class stays, so that no class is
    lost, and the predictions of small classes are mixed with those of an average class, because one correct prediction
    of one example is not a proof. The variance by the random numbers of examples is added. The sum tells how many
    independent examples would know the metric as well; the interval is Wilson's for that many, around the metric
    without its bias. docs/metrics.md has the measured coverage.
    """
    present, indices = np.unique(np.concatenate([labels, predicted]), return_inverse=True)
    labels, predicted = indices[: len(labels)], indices[len(labels) :]
    counts = Counts.of(labels, predicted, max(2, len(present)))
    values = counts.scores()
    mixed = _Mixed(labels, predicted, counts)
    resampled = np.concatenate([some.scores() for some in mixed.resamples()], axis=1)
    influences, correct = counts.influences(labels, predicted), labels == predicted
    pairs = np.unique(labels * len(counts.labels) + predicted)
    is_fixed = len(pairs) == np.count_nonzero(counts.labels)  # one prediction for each label
    bounds = []
    for name, value, centre, drawn, influence in zip(
        NAMES, values, mixed.expected().scores(), resampled, influences, strict=True
    ):
        # As a fraction of its range; Matthews' correlation is in -1..1.
        low, high = (-1, 1) if name == "matthews_correlation" else (0, 1)
        value, centre, drawn = ((some - low) / (high - low) for some in (value, centre, drawn))
        of_classes = np.bincount(labels, influence / (high - low), len(counts.labels))
        between = (np.square(of_classes) / np.maximum(counts.labels, 1)).sum()
        variance, design = drawn.var(ddof=1) + between, design_effect(influence, correct, groups)
        if is_fixed:  # few resamples have another prediction, or none, so they do not tell the variance
            variance = max(variance, centre * (1 - centre) / len(labels))
        is_constant = name == "matthews_correlation" and np.ptp(labels) == 0
        if is_constant or not variance or len(labels) < 2:
            bounds.append((low, high))
            continue
        examples = centre * (1 - centre) / variance / design.effect
        quantile = stdtrit(max(examples - 1, 0.1), 0.975) if design is INDEPENDENT else design.quantile
        unbiased = np.clip(value - drawn.mean() + centre, 0, 1)
        bound = np.clip(wilson(unbiased * examples, examples, quantile), [0, value], [value, 1])
        bounds.append(low + (high - low) * bound)
    return values, np.array(bounds)


class _Mixed:
    """The examples, with the predictions of small classes mixed with those of an average class."""

    def __init__(self, labels: np.ndarray, predicted: np.ndarray, counts: Counts):
        order = np.argsort(labels, kind="stable")
        self.labels, self.predicted = labels[order], predicted[order]
        self.counts, self.classes = counts, len(counts.labels)
        self.own = counts.labels / (counts.labels + PRIOR)  # (K,) part of the predictions that are the class's own
        self.accuracy = (counts.both.sum() + 1) / (len(labels) + 2)  # of an average class

    def expected(self) -> Counts:
        """The counts (K,) float64 that a resample has on average."""
        borrowed = (1 - self.own) * self.counts.labels
        right, wrong = borrowed * self.accuracy, borrowed * (1 - self.accuracy)
        predicted = np.bincount(self.predicted, self.own[self.labels], self.classes)
        others = (wrong.sum() - wrong) / (self.classes - 1)
        return Counts(self.counts.labels, predicted + right + others, self.own * self.counts.both + right)

    def resamples(self) -> Iterator[Counts]:
        """The counts (n, K) of RESAMPLES resamples, n at a time."""
        random, starts = numpy_generator(0, "class scores"), np.cumsum(self.counts.labels) - self.counts.labels
        first, size, own = (column[self.labels] for column in (starts, self.counts.labels, self.own))
        for done in range(0, RESAMPLES, step := 1 + CHUNK // len(self.labels)):
            n = min(step, RESAMPLES - done)
            drawn = self.predicted[first + (random.random((n, len(size))) * size).astype(np.int64)]
            row, column = np.nonzero(random.random(drawn.shape) >= own)
            label = self.labels[column]
            shift = random.integers(1, self.classes, len(label)) * (random.random(len(label)) >= self.accuracy)
            drawn[row, column] = (label + shift) % self.classes
            rows = np.arange(n)[:, None] * self.classes
            predicted, both = (
                np.bincount(cells, minlength=n * self.classes).reshape(n, self.classes)
                for cells in ((drawn + rows).reshape(-1), (drawn + rows)[drawn == self.labels])
            )
            yield Counts(np.broadcast_to(self.counts.labels, predicted.shape), predicted, both)
