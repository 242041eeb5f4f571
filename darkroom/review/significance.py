"""Whether two classifiers differ by more than chance: paired tests and intervals over test examples, and over seeds.

Both classifiers saw the same examples, so only those that exactly one of them predicted correctly distinguish them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm, t

from darkroom.core.randomness import numpy_generator

RESAMPLES = 2000  # of the bootstrap over test examples
# The smallest level at which 95 of 100 pairs one point of accuracy apart are called different, if they disagree on 6 %
# of 10,000 examples. Equal models are then called different in 2 of 100 reviews (benchmarks/verdicts.py); at 0.01 it
# would be 1 of 100, but 8 of 100 such pairs would be missed.
LEVEL = 0.025


@dataclass(frozen=True)
class Difference:
    """New minus old, its 95 % confidence interval, and the p-value under the hypothesis that both are equal."""

    value: float
    low: float
    high: float
    p: float

    @property
    def significant(self) -> bool:
        """Whether p is below LEVEL."""
        return self.p < LEVEL


def accuracy(old: np.ndarray, new: np.ndarray) -> Difference:
    """The difference of accuracies; old and new (N,) bool say which examples each predicted correctly.

    p: McNemar's exact test ("Note on the sampling error of the difference between correlated proportions", 1947). The
    interval: Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data", 2012.
    """
    n, fixed, broken = len(old), int((~old & new).sum()), int((old & ~new).sum())
    p = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
    gained, lost = (fixed + 1) / (n + 2), (broken + 1) / (n + 2)
    middle, half = gained - lost, norm.ppf(0.975) * np.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    return Difference((fixed - broken) / n, max(-1.0, middle - half), min(1.0, middle + half), float(p))


def mean(old: np.ndarray, new: np.ndarray) -> Difference:
    """The difference of the means of a number per example, such as the loss: old and new (N,) float64.

    A paired z-test and interval.
    """
    change = new - old
    value, error = change.mean(), change.std(ddof=len(change) > 1) / np.sqrt(len(change))
    low, high = value + np.array([-1, 1]) * norm.ppf(0.975) * error
    p = 2 * norm.sf(abs(value) / error) if error else value == 0
    return Difference(float(value), float(low), float(high), float(p))


def macro_f1(labels: np.ndarray, old: np.ndarray, new: np.ndarray, classes: int) -> Difference:
    """The difference of macro F1; labels, old and new (N,) int64 are true and predicted classes, 0..classes-1.

    A bootstrap over the examples: a percentile interval; p from the fraction of resamples on the other side of zero.
    """
    triples, counts = np.unique(np.stack([labels, old, new]), axis=1, return_counts=True)
    drawn = numpy_generator(0, "bootstrap").multinomial(len(labels), counts / len(labels), size=RESAMPLES)

    def score(weights: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        columns = (np.where(predicted == triples[0], predicted, -1), triples[0], predicted)
        correct, labelled, taken = (weights @ (column[:, None] == np.arange(classes)) for column in columns)
        return (2 * correct / np.maximum(labelled + taken, 1)).mean(-1)

    value = score(counts, triples[2]) - score(counts, triples[1])
    changes = score(drawn, triples[2]) - score(drawn, triples[1])
    low, high = np.percentile(changes, [2.5, 97.5])
    tail = (min((changes <= 0).sum(), (changes >= 0).sum()) + 1) / (RESAMPLES + 1)
    return Difference(float(value), float(low), float(high), float(min(1.0, 2 * tail)))


def seeds(old: tuple[float, float, int], new: tuple[float, float, int]) -> Difference:
    """The difference of means over seeds, each side as (mean, standard deviation, n): Welch's t-test and interval.

    Welch, "The generalization of Student's problem when several different population variances are involved", 1947.
    """
    value = new[0] - old[0]
    variances = np.array([deviation**2 / n for _, deviation, n in (old, new)])
    if not variances.any():  # the accuracies of all seeds are equal
        return Difference(value, value, value, float(value == 0))
    error, freedom = np.sqrt(variances.sum()), variances.sum() ** 2 / (variances**2 / [old[2] - 1, new[2] - 1]).sum()
    half = t.ppf(0.975, freedom) * error
    return Difference(value, float(value - half), float(value + half), float(2 * t.sf(abs(value) / error, freedom)))


def holm(p: np.ndarray) -> np.ndarray:
    """The p-values (n,) adjusted for n tests: Holm, "A simple sequentially rejective multiple test procedure", 1979."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted
