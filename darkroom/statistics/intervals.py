"""95 % confidence intervals of fractions and means, for independent examples and for groups of examples."""

import numpy as np
from scipy.special import betaincinv, ndtri

from darkroom.core.randomness import numpy_generator
from darkroom.statistics.groups import design_effect, unit_sums

Z = float(ndtri(0.975))
RESAMPLES = 1000  # of the bootstrap
FEW_UNITS = 50  # up to so many, the end of a long tail may not have been seen
MOST_UNITS = 2500  # more are merged at random into this many or fewer: as skewed, and faster
LEAST_ERROR = 0.1  # of a resample, as a multiple of the sample's: resamples of equal values have none
CHUNK = 200_000  # values of resamples in memory at a time


def wilson(successes: np.ndarray | float, total: np.ndarray | float, z: float = Z) -> np.ndarray:
    """Wilson's 95 % confidence interval of the fraction successes / total, each a number or an array: (2, ...) float64.

    `z` is the quantile of the standardised fraction. The interval is 0..1 where the total is 0. Wilson, "Probable
    inference, the law of succession, and statistical inference", 1927.
    """
    n = np.where(np.equal(total, 0), 1, total)
    fraction, width = successes / n, z**2 / n
    middle = (fraction + width / 2) / (1 + width)
    half = z / (1 + width) * np.sqrt(fraction * (1 - fraction) / n + width / (4 * n))
    none, every = np.equal(successes, 0), np.equal(successes, total)  # the exact bounds are 0 and 1, without rounding
    return np.stack([np.where(none, 0, middle - half), np.where(every, 1, middle + half)])


def clopper_pearson(successes: np.ndarray | int, total: np.ndarray | int, confidence: float = 0.95) -> np.ndarray:
    """The exact two-sided confidence interval of the fraction successes / total, numbers or arrays: (2, ...) float64.

    Each bound is missed with a probability of at most (1 - confidence) / 2. It is 0..1 where the total is 0. Clopper
    and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", 1934.
    """
    tail, failures = (1 - confidence) / 2, np.subtract(total, successes)
    low = betaincinv(np.maximum(successes, 1), failures + 1, tail)
    high = betaincinv(np.add(successes, 1), np.maximum(failures, 1), 1 - tail)
    return np.stack([np.where(np.equal(successes, 0), 0, low), np.where(failures == 0, 1, high)])


def fraction_interval(correct: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """The 95 % confidence interval (2,) float64 of the fraction of correct (N,) bool that is true.

    Wilson's for independent examples. With groups (N,) text it is Wilson's for as many independent examples as tell as
    much, with the quantile of Student's t; "" is in no group.
    """
    n, found = len(correct), design_effect(correct - np.mean(correct) if len(correct) else correct, correct, groups)
    return wilson(correct.sum() / found.effect, n / found.effect, found.quantile)


def mean_interval(values: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """The 95 % confidence interval (2,) float64 of the mean of values (N,), by the bootstrap-t.

    `groups` (N,) text names the group of each value: groups are drawn whole, and a value with the group "" is drawn
    on its own. A single unit says nothing about others: -inf..inf. Equal values have an interval of length 0.
    Efron, "Nonparametric standard errors and confidence intervals", 1981; docs/metrics.md has the measured coverage.
    """
    sums, sizes = unit_sums(values, groups), unit_sums(np.ones(len(values)), groups)
    if len(sums) < 2:
        return np.array([-np.inf, np.inf])
    low, high = _bootstrap_t(sums, sizes)
    if len(sums) <= FEW_UNITS:  # for the bound on the side of the longer tail, add a unit half as far again as its end
        residuals = sums - sums.sum() / sizes.sum() * sizes
        furthest = np.abs(residuals).argmax()
        bounds = _bootstrap_t(np.append(sums, (sums + residuals / 2)[furthest]), np.append(sizes, sizes[furthest]))
        low, high = (low, max(high, bounds[1])) if residuals[furthest] > 0 else (min(low, bounds[0]), high)
    return np.array([low, high])


def _bootstrap_t(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The interval (2,) of a mean from the sums (U,) and sizes (U,) of at least two units."""
    mean = sums.sum() / sizes.sum()
    residuals, random = sums - mean * sizes, numpy_generator(0, "bootstrap-t")
    error = _error(residuals, sizes)
    if error == 0:
        return np.array([mean, mean])
    if (block := -(-len(sums) // MOST_UNITS)) > 1:  # the mean of a block is a draw from fewer, larger units
        order = random.permutation(len(sums))[: len(sums) // block * block].reshape(-1, block)
        residuals, sizes = residuals[order].sum(1), sizes[order].sum(1)
    n, one_size = len(sizes), sizes.min() == sizes.max()
    centre, least, studentised = residuals.sum() / sizes.sum(), LEAST_ERROR * error, []
    for start in range(0, RESAMPLES, step := 1 + CHUNK // n):
        drawn = random.integers(n, size=(min(step, RESAMPLES - start), n), dtype=np.uint16)
        drawn_sizes = np.broadcast_to(sizes, drawn.shape) if one_size else sizes[drawn]
        drawn = residuals[drawn]
        means = drawn.sum(1) / drawn_sizes.sum(1)
        errors = _error(drawn - means[:, None] * drawn_sizes, drawn_sizes)
        studentised.append((means - centre) / np.maximum(errors, least))
    return mean - error * np.quantile(np.concatenate(studentised), [0.975, 0.025])


def _error(residuals: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Standard errors (...) of ratios of sums from the residuals (..., U) and sizes (..., U) of their units."""
    n = residuals.shape[-1]
    return np.sqrt(np.square(residuals).sum(-1) * n / (n - 1)) / sizes.sum(-1)
