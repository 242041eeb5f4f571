"""Whether two classifiers, or the recipes that trained them, differ by more than chance.

Two questions, two tests. Is this *model* better on these examples? Both models saw the same examples, so only those
that exactly one of them predicted correctly distinguish them (`accuracy`). Is this *recipe* better? Training again with
another seed changes the accuracy too (`recipe`). Examples of one group are not independent: with `groups`, the groups
are the units.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom, norm, t

from darkroom.core.randomness import numpy_generator

LEVEL = 0.05  # of all decisions; all intervals have the confidence 1 - LEVEL (benchmarks/verdicts.py)
POWER = 0.8  # with which a recipe's `detectable` difference is found
# How many degrees of freedom the prior of the retraining noise is worth: with 8, equal recipes are called different in
# at most 6.3 % of simulated pairs, even where the noise is larger than the prior (benchmarks/verdicts.py)
PRIOR_FREEDOM = 8
ENOUGH_SEEDS = 3  # of each side, for a test that uses nothing but their accuracies
EXACT_FLIPS, FLIPS = 16, 10_000  # groups up to which all signs are tried; else so many random ones


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

    @property
    def verdict(self) -> str:
        """better, worse or within noise, where higher is better."""
        return ("better" if self.value > 0 else "worse") if self.significant else "within noise"


@dataclass(frozen=True)
class Seeds:
    """Accuracies of trainings that differ in the seed alone: mean, sample standard deviation (0 of one), and number."""

    mean: float
    std: float
    n: int


@dataclass(frozen=True)
class Recipe(Difference):
    """The difference of two recipes' mean accuracies on these examples, over trainings with other seeds."""

    std: float  # of the accuracy of one training, as used by the test
    freedom: float | None  # degrees of freedom of std; None: infinite
    detectable: float  # the smallest difference that the test finds with the probability POWER


def accuracy(old: np.ndarray, new: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """The difference of accuracies; old and new (N,) bool say which examples each predicted correctly.

    p: McNemar's exact test ("Note on the sampling error of the difference between correlated proportions", 1947). The
    interval: Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data", 2012. With groups (N,): the exact test by flipping the signs of whole groups, and an interval by
    Student's t over groups.
    """
    n, fixed, broken = len(old), int((~old & new).sum()), int((old & ~new).sum())
    value, error = (fixed - broken) / n, np.sqrt(_variance(old, new, groups))
    number = grouped(groups)
    if number is None:
        middle, half = (fixed - broken) / (n + 2), norm.isf(LEVEL / 2) * error
        p = float(mcnemar(np.array([fixed]), np.array([broken]))[0])
    else:
        middle, half = value, t.isf(LEVEL / 2, max(1, number.max())) * error
        p = _sign_flips(np.bincount(number, new.astype(float) - old))
    return Difference(value, max(-1.0, middle - half), min(1.0, middle + half), p)


def mcnemar(fixed: np.ndarray, broken: np.ndarray) -> np.ndarray:
    """The p-values (K,) of McNemar's exact test from the numbers (K,) of fixed and broken predictions."""
    return np.minimum(1.0, 2 * binom.cdf(np.minimum(fixed, broken), fixed + broken, 0.5))


def mean(old: np.ndarray, new: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """The difference of the means of a number per example, such as the loss: old and new (N,) float64.

    Student's paired test and interval, over groups (N,) if given.
    """
    change = new - old
    return studentised(float(change.mean()), change - change.mean(), None, groups)


def macro_f1(labels: np.ndarray, old: np.ndarray, new: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """The difference of macro F1 over the classes that have examples; labels, old and new (N,) int64 are classes.

    Student's test and interval by the delta method: each example counts with its first-order influence on the
    difference, centred within its class (stratified; classes with one example are one stratum).
    """
    scores = [_f1_influence(labels, one) for one in (old, new)]
    influence = scores[1][1] - scores[0][1]
    counts = np.bincount(labels)
    stratum = np.where(counts > 1, np.arange(len(counts)), len(counts))[labels]
    sizes = np.bincount(stratum)
    means = np.bincount(stratum, influence) / np.maximum(sizes, 1)
    correction = np.sqrt(sizes / np.maximum(sizes - 1, 1))
    deviations = (influence - means[stratum]) * correction[stratum]
    return studentised(scores[1][0] - scores[0][0], deviations, old != new, groups)


def _f1_influence(labels: np.ndarray, predicted: np.ndarray) -> tuple[float, np.ndarray]:
    """Macro F1, and the derivative (N,) of it by the weight of each example, times N."""
    size = max(labels.max(), predicted.max()) + 1
    correct = predicted == labels
    hits = np.bincount(labels[correct], minlength=size)
    labelled, taken = np.bincount(labels, minlength=size), np.bincount(predicted, minlength=size)
    present, total = labelled > 0, np.maximum(labelled + taken, 1)
    f1 = np.where(present, 2 * hits / total, 0.0)
    slope = np.where(present, f1 / total, 0.0)  # what one more in the denominator costs
    gain = np.where(present, 2 / total, 0.0)
    influence = correct * gain[labels] - slope[labels] - slope[predicted]
    return float(f1[present].mean()), influence * len(labels) / present.sum()


def recipe(
    old: np.ndarray,
    new: np.ndarray,
    prior: float,
    groups: np.ndarray | None = None,
    seeds: tuple[Seeds | None, Seeds | None] = (None, None),
    earlier: Seeds | None = None,
) -> Recipe:
    """The difference of the recipes' mean accuracies over seeds.

    old and new (N,) bool say which examples one training of each side predicted correctly; `groups` (N,) as in
    `accuracy`. `prior` is the standard deviation that a retraining adds where nothing is known
    (`prior.retraining_std`). `seeds` are further trainings of the old and the new recipe, whose means are compared
    instead. `earlier` are seeds of other recipes on the same data; only their deviation counts.

    With at least ENOUGH_SEEDS seeds of each side: Welch's test ("The generalization of Student's problem when several
    different population variances are involved", 1947). Otherwise a moderated t-test (Smyth, "Linear models and
    empirical Bayes methods for assessing differential expression in microarray experiments", 2004): the variance of one
    training pools the seeds at hand with its prior, half the sampling variance of the pair plus `prior` squared, which
    is worth PRIOR_FREEDOM degrees of freedom. Where there is one training of each side, the models must differ too:
    p is the larger of both tests.
    """
    sampling = _variance(old, new, groups) / 2  # of one training's accuracy, from the examples that flip
    sides = [known or Seeds(float(own.mean()), 0.0, 1) for known, own in zip(seeds, (old, new), strict=True)]
    numbers = np.array([side.n for side in sides])
    known = [side for side in sides if side.n > 1] or ([earlier] if earlier else [])
    if numbers.min() >= ENOUGH_SEEDS:
        # Equal accuracies of few seeds do not mean that the noise is zero
        variances = np.maximum(sampling, [side.std**2 for side in sides])
        parts = variances / numbers
        freedom = float(parts.sum() ** 2 / (parts**2 / (numbers - 1)).sum())
        variance = variances.mean()
    else:
        freedom = float(PRIOR_FREEDOM + sum(side.n - 1 for side in known))
        squares = PRIOR_FREEDOM * (sampling + prior**2) + sum((side.n - 1) * side.std**2 for side in known)
        parts = squares / freedom / numbers
        variance = squares / freedom
    value, error = sides[1].mean - sides[0].mean, np.sqrt(parts.sum())
    p = 2 * t.sf(abs(value) / error, freedom)
    if numbers.max() == 1:
        p = max(p, accuracy(old, new, groups).p)
    half = t.isf(LEVEL / 2, freedom) * error
    found = half + t.ppf(POWER, freedom) * error
    low, high = float(value - half), float(value + half)
    return Recipe(value, low, high, float(p), float(np.sqrt(variance)), freedom, float(found))


def same_weights(old: np.ndarray, new: np.ndarray, groups: np.ndarray | None = None) -> Recipe:
    """The difference of two recipes that share one training, so that a retraining does not add to it."""
    found, error = accuracy(old, new, groups), np.sqrt(_variance(old, new, groups))
    detectable = (norm.isf(LEVEL / 2) + norm.ppf(POWER)) * error
    return Recipe(found.value, found.low, found.high, found.p, 0.0, None, float(detectable))


def _variance(old: np.ndarray, new: np.ndarray, groups: np.ndarray | None) -> float:
    """The sampling variance of the difference of accuracies of two models."""
    n, number = len(old), grouped(groups)
    gained, lost = ((~old & new).sum() + 1) / (n + 2), ((old & ~new).sum() + 1) / (n + 2)
    independent = (gained + lost - (gained - lost) ** 2) / (n + 2)
    if number is None:
        return float(independent)
    change = new.astype(float) - old
    # Few groups can look more alike than independent examples would
    return max(float(independent), clustered(change - change.mean(), number))


def grouped(groups: np.ndarray | None) -> np.ndarray | None:
    """The number (N,) int64 of each example's group; None if all are independent.

    Groups are texts, where an example of group "" stands alone, or already numbers.
    """
    if groups is None:
        return None
    number = groups
    if groups.dtype.kind not in "iu":
        number = pd.factorize(groups)[0]
        alone = groups == ""
        number[alone] = len(number) + np.arange(alone.sum())
    names, number = np.unique(number, return_inverse=True)
    return None if len(names) == len(number) else number


def clustered(deviations: np.ndarray, number: np.ndarray) -> float:
    """The variance of a mean over examples (N,) of groups, from the examples' deviations from it; 1 of one group."""
    sums = np.bincount(number, deviations)
    return float((sums**2).sum() / len(number) ** 2 * len(sums) / (len(sums) - 1)) if len(sums) > 1 else 1.0


def studentised(
    value: float, deviations: np.ndarray, changed: np.ndarray | None, groups: np.ndarray | None
) -> Difference:
    """A value that is a mean up to first order, with the deviations (N,) of its examples, against zero.

    `changed` (N,) bool: the examples with another prediction, if only these count. Few of them prove little, however
    alike they are: with k changed units p is at least 2 / 2^k, as in a test by flipping their signs.
    """
    number = grouped(groups)
    number = np.arange(len(deviations)) if number is None else number
    freedom = max(1, int(number.max()))
    least = float(not number.max()) if changed is None else min(1.0, 2.0 ** (1 - len(np.unique(number[changed]))))
    # Without any deviation nothing is known of the error: it may be as large as the value
    error = np.sqrt(clustered(deviations, number)) if deviations.any() else abs(value)
    half = t.isf(LEVEL / 2, freedom) * error
    p = 2 * t.sf(abs(value) / error, freedom) if error else 1.0
    return Difference(value, float(value - half), float(value + half), max(least, float(p)))


def _sign_flips(sums: np.ndarray) -> float:
    """The p-value under the hypothesis that each group's sum (G,) has either sign equally often."""
    sums = sums[sums != 0]
    if len(sums) <= EXACT_FLIPS:
        signs = 1 - 2 * (np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1)
        return float((np.abs(signs @ sums) >= abs(sums.sum())).mean())
    random, extreme = numpy_generator(0, "sign flips"), 1
    for _ in range(10):  # in blocks, to bound the memory
        signs = 1 - 2 * random.integers(2, size=(FLIPS // 10, len(sums)), dtype=np.int8)
        extreme += int((np.abs(signs @ sums) >= abs(sums.sum())).sum())
    return extreme / (FLIPS + 1)
