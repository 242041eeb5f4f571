"""Extrapolate a learning curve: a power law with an offset, and an interval that allows for deviations from it.

The error with n labels is f(n) = a n^-b + c (Hestness et al., "Deep learning scaling is predictable, empirically",
2017). No real curve follows it exactly, so its logarithm may wander off: by a random walk over the doublings of n, in
level and in slope. The further the extrapolation, the wider the interval. Each training adds noise of its own, and the
number of examples on which it is measured adds more. Exponent, offset, and the sizes of the deviations are averaged
over a grid, each value weighted by its likelihood; the level a is integrated out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.core.randomness import numpy_generator

LEVEL = 0.95  # of the intervals
EXPONENTS = np.linspace(0, 1.2, 41)  # b
OFFSETS = np.linspace(0, 0.98, 40)  # c, as a fraction of the error with the most labels
WANDERING = np.geomspace(0.005, 0.3, 9)  # standard deviation per doubling, of the logarithm of the error
NOISE = np.geomspace(0.003, 0.6, 12)  # standard deviation of one training, of the same
_EXPECTED_WANDERING = 0.05  # mean of its exponential prior
_SLOPE = 1  # wandering of the slope, as a fraction of that of the level
_DRAWS = 20_000


@dataclass(frozen=True)
class Curve:
    """The most likely law: error(n) = a n^-b + c."""

    a: float
    b: float
    c: float

    def error(self, labels: np.ndarray) -> np.ndarray:
        """The error (N,) float64 with as many labels (N,)."""
        return self.a * np.power(labels, -self.b, dtype=np.float64) + self.c


@dataclass(frozen=True)
class Fit:
    """A curve, and the error of one training with other numbers of labels M."""

    curve: Curve
    median: np.ndarray  # (M,) float64
    low: np.ndarray  # (M,) float64: the interval
    high: np.ndarray


def fit(labels: Sequence[int], incorrect: Sequence[int], measured: int, wanted: Sequence[float]) -> Fit:
    """Fit trainings with `labels` (N,), and predict one with each of `wanted` (M,) labels.

    `incorrect` (N,) are the incorrect predictions of each training on `measured` examples.

    Raises ValueError if the trainings have fewer than 3 different numbers of labels.
    """
    if len(set(labels)) < 3:
        raise ValueError("a power law with an offset needs at least 3 different numbers of labels")
    most = max(labels)
    doublings, targets = (np.log2(np.asarray(values, np.float64) / most) for values in (labels, wanted))
    errors = (np.asarray(incorrect, np.float64) + 0.5) / (measured + 1)
    values, sampling = np.log(errors), (1 - errors) / (errors * measured)  # (N,): the variance of each logarithm
    exponents, offsets = (grid.ravel() for grid in np.meshgrid(EXPONENTS, OFFSETS, indexing="ij"))

    def law(x: np.ndarray) -> np.ndarray:  # (G, ...) of the logarithm, 0 with the most labels
        return np.log((1 - offsets[:, None]) * 2 ** (-exponents[:, None] * x) + offsets[:, None])

    rest, ahead = values - law(doublings), law(targets)  # (G, N), (G, M)
    steps, steps_ahead = doublings - doublings.min(), targets - doublings.min()
    walks = _walk(steps, steps), _walk(steps, steps_ahead), np.diag(_walk(steps_ahead, steps_ahead))
    sizes = [(wandering, noise) for wandering in WANDERING for noise in NOISE]
    parts = [
        _given(rest, [wandering**2 * walk for walk in walks], noise**2 + sampling, wandering)
        for wandering, noise in sizes
    ]
    evidence, levels, shifts, variances = (np.array(part) for part in zip(*parts, strict=True))
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()  # (wandering and noise, G)
    random = numpy_generator(0, "learning curve")
    number, point = np.unravel_index(random.choice(weights.size, _DRAWS, p=weights.ravel()), weights.shape)
    deviations = np.sqrt(variances + np.square(sizes)[:, 1:])[number]  # with the noise of a training
    drawn = ahead[point] + shifts[number, point] + deviations * random.standard_normal(deviations.shape)
    reached = np.minimum(np.exp(drawn), 1)
    reached += np.sqrt(reached * (1 - reached) / measured) * random.standard_normal(drawn.shape)
    tail = (1 - LEVEL) / 2
    low, median, high = np.clip(np.quantile(reached, [tail, 0.5, 1 - tail], axis=0), 0, 1)
    best = weights.sum(0).argmax()
    level = np.exp(np.average(levels[:, best], weights=weights[:, best]))
    curve = Curve(
        float(level * (1 - offsets[best]) * most ** exponents[best]),
        float(exponents[best]),
        float(level * offsets[best]),
    )
    return Fit(curve, median, low, high)


def _walk(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Covariances (n, m) of a random walk in level and slope after as many doublings (n,) and (m,)."""
    least, most = np.minimum.outer(first, second), np.maximum.outer(first, second)
    return least + _SLOPE**2 * least**2 * (3 * most - least) / 6


def _given(
    rest: np.ndarray, walks: Sequence[np.ndarray], noise: np.ndarray, wandering: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For one size of the deviations and each law of the grid, the prediction of a Gaussian process.

    `rest` (G, N) is what a law leaves of the logarithms; `walks` are covariances (N, N) of the random walk, those with
    the targets (N, M), and the variances there (M,); `noise` (N,) are the variances of the trainings. Returns the
    logarithm of the evidence (G,), the level (G,), its shift (G, M) with the walk at the targets, and the variance of
    the shift (M,).
    """
    walked, across, ahead = walks
    covariance = walked + np.diag(noise)
    inverse = np.linalg.inv(covariance)
    total = inverse.sum()
    levels = rest @ inverse.sum(1) / total
    centred = rest - levels[:, None]
    evidence = -0.5 * (np.linalg.slogdet(covariance)[1] + np.log(total) + ((centred @ inverse) * centred).sum(1))
    gain = inverse @ across  # (N, M)
    variance = ahead - (across * gain).sum(0) + (1 - gain.sum(0)) ** 2 / total
    return evidence - wandering / _EXPECTED_WANDERING, levels, levels[:, None] + centred @ gain, variance
