"""Whether two samples have one distribution: the population stability index, and a p-value beside it.

The index says how large a change is, the p-value whether chance explains it. With many images, a change that does not
matter has a tiny p-value; with few images, chance alone gives a large index. This module must not import SciPy: the
service uses it.
"""

import math

import numpy as np

BINS = 10  # of a continuous feature
WARNING, ALARM = 0.1, 0.2  # of the index; by the usual rule, a small and a large change
FLOOR = 1e-4  # the fraction that an empty bin counts as
MIN_EXPECTED = 5  # images in a bin, for the p-value; rarer bins are merged (Cochran, Biometrics, 1954)

_QUANTILE = 3.719  # of the standard normal distribution at 1 - 1e-4


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
    """The number of images that each of two samples needs for the index over `bins` bins to be more than chance.

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


def p_value(expected: np.ndarray, observed: np.ndarray) -> float:
    """The p-value of Pearson's chi-square test that two samples, counts (B,) over the same bins, have one distribution.

    Both samples are taken as random, so a small one of either kind is not held against the other. Bins with fewer than
    MIN_EXPECTED images expected in the smaller sample are merged. It is 1 if only one bin is left or a sample is empty.
    The images must be independent of each other.
    """
    table = np.array([expected, observed], np.float64)
    sizes = table.sum(1)
    if not sizes.all():
        return 1.0
    table = _merged(table, MIN_EXPECTED * sizes.sum() / sizes.min())
    means = np.outer(sizes, table.sum(0)) / sizes.sum()
    return chi_square_tail(float(((table - means) ** 2 / means).sum()), table.shape[1] - 1)


def chi_square_tail(value: float, freedom: int) -> float:
    """The probability that chi-square with `freedom` degrees of freedom, at least 0, reaches `value`, at least 0.

    The finite sum for integers: Abramowitz and Stegun, "Handbook of mathematical functions", 1964, 26.4.4 and 26.4.5.
    """
    half = value / 2
    if freedom == 0 or half == 0:
        return 1.0
    log = math.log(half)
    powers = np.arange(freedom / 2 - 1, -0.25, -1).tolist()  # ..., 1, 0 or ..., 1.5, 0.5
    terms = [math.exp(power * log - half - math.lgamma(power + 1)) for power in powers]
    return min(1.0, math.fsum([*terms, math.erfc(math.sqrt(half)) if freedom % 2 else 0.0]))


def edges(values: np.ndarray) -> np.ndarray:
    """Increasing edges (B - 1,) float64 between bins that hold equally many of values (N,), N at least 1.

    There are BINS bins, or fewer if N is too small for the index over so many. A value that fills more than one bin
    gets its own.
    """
    bins = max((bins for bins in range(2, BINS + 1) if min_samples(bins) <= len(values)), default=2)
    found, repeats = np.unique(np.quantile(values, np.arange(1, bins) / bins), return_counts=True)
    return np.union1d(found, np.nextafter(found[repeats > 1], np.inf))


def bins(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The bin of each of values (n,), as (n,) int64; an edge belongs to the bin above it, the outer bins are open."""
    return np.searchsorted(edges, values, side="right")


def binned(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The number of values (n,) in each bin, (B,) int64."""
    return np.bincount(bins(edges, values), minlength=len(edges) + 1)


def _merged(table: np.ndarray, least: float) -> np.ndarray:
    """The counts (2, B), with columns whose sum is below `least` merged, the smallest first; no column is empty."""
    order = np.argsort(table.sum(0), kind="stable")
    table = table[:, order]
    reached = np.cumsum(table.sum(0))
    rare = int((table.sum(0) < least).sum())  # the first columns
    if rare and reached[rare - 1] < least:  # together they are rare as well
        rare += 1
    return np.column_stack([table[:, :rare].sum(1), table[:, rare:]]) if rare else table
