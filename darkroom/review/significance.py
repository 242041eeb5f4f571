"""Whether two classifiers differ by more than the luck of the test pictures, and of the seed: paired tests and intervals.

The pictures are the same for both, so what one got right and the other wrong tells them apart; what both got right tells nothing.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm, t

from darkroom.core.randomness import numpy_generator

RESAMPLES = 2000  # of the test pictures, for a bootstrap
# Of significance: the least at which a point of accuracy is seen in 95 of 100 pairs that disagree on 6 % of 10,000 pictures. Equal models are
# then called different in 2 of 100 reviews (benchmarks.verdicts); with 0.01 it would be 1, but a point is missed in 8.
LEVEL = 0.025


@dataclass(frozen=True)
class Difference:
    """New less old, with its 95 % interval, and the probability of one at least as large between equal classifiers."""

    value: float
    low: float
    high: float
    p: float

    @property
    def real(self) -> bool:
        """Whether it is more than luck explains, at LEVEL."""
        return self.p < LEVEL


def accuracy(old: np.ndarray, new: np.ndarray) -> Difference:
    """Of the shares of right answers, where old and new (N,) bool say which pictures each got right.

    p: McNemar's exact test ("Note on the sampling error of the difference between correlated proportions", 1947). The
    interval: Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data", 2012.
    """
    n, fixed, broken = len(old), int((~old & new).sum()), int((old & ~new).sum())
    p = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
    gained, lost = (fixed + 1) / (n + 2), (broken + 1) / (n + 2)
    middle, half = gained - lost, norm.ppf(0.975) * np.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    return Difference((fixed - broken) / n, max(-1.0, middle - half), min(1.0, middle + half), float(p))


def mean(old: np.ndarray, new: np.ndarray) -> Difference:
    """Of the means of a number that each picture has, such as its loss: old and new (N,) float64; paired, by the normal distribution."""
    change = new - old
    value, error = change.mean(), change.std(ddof=len(change) > 1) / np.sqrt(len(change))
    low, high = value + np.array([-1, 1]) * norm.ppf(0.975) * error
    return Difference(
        float(value), float(low), float(high), float(2 * norm.sf(abs(value) / error)) if error else float(value == 0)
    )


def macro_f1(labels: np.ndarray, old: np.ndarray, new: np.ndarray, classes: int) -> Difference:
    """Of macro F1, where labels, old and new (N,) int64 are what each picture is and was taken for, among so many classes.

    A bootstrap of the pictures: the interval by its percentiles, p from the share of resamples on the other side of zero.
    """
    triples, counts = np.unique(np.stack([labels, old, new]), axis=1, return_counts=True)
    drawn = numpy_generator(0, "bootstrap").multinomial(len(labels), counts / len(labels), size=RESAMPLES)

    def score(weights: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        right, labelled, taken = (
            weights @ (numbers[:, None] == np.arange(classes))
            for numbers in (np.where(predicted == triples[0], predicted, -1), triples[0], predicted)
        )
        return (2 * right / np.maximum(labelled + taken, 1)).mean(-1)

    value = score(counts, triples[2]) - score(counts, triples[1])
    changes = score(drawn, triples[2]) - score(drawn, triples[1])
    low, high = np.percentile(changes, [2.5, 97.5])
    tail = (min((changes <= 0).sum(), (changes >= 0).sum()) + 1) / (RESAMPLES + 1)
    return Difference(float(value), float(low), float(high), float(min(1.0, 2 * tail)))


def seeds(old: tuple[float, float, int], new: tuple[float, float, int]) -> Difference:
    """Of the means over trainings with several seeds, each side (mean, standard deviation, number): Welch's t-test and interval.

    Welch, "The generalization of Student's problem when several different population variances are involved", 1947.
    """
    value = new[0] - old[0]
    variances = np.array([deviation**2 / n for _, deviation, n in (old, new)])
    if not variances.any():  # trainings that all ended alike
        return Difference(value, value, value, float(value == 0))
    error, freedom = np.sqrt(variances.sum()), variances.sum() ** 2 / (variances**2 / [old[2] - 1, new[2] - 1]).sum()
    half = t.ppf(0.975, freedom) * error
    return Difference(value, float(value - half), float(value + half), float(2 * t.sf(abs(value) / error, freedom)))


def holm(p: np.ndarray) -> np.ndarray:
    """The p values (n,) adjusted for having looked at n of them: Holm, "A simple sequentially rejective multiple test procedure", 1979."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted
