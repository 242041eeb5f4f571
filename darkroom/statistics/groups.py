"""Examples that belong to groups, such as images of one patient, tell less than as many independent examples."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit  # scipy.stats, identical bit for bit, takes half a second to import

PRIOR = 0.3  # intraclass correlation that counts as much as what one group shows: few errors in few groups show little


@dataclass(frozen=True)
class Design:
    """What groups do to an interval."""

    effect: float  # variance, as a multiple of that of as many independent examples; at least 1
    quantile: float  # 97.5 % of Student's t with one degree of freedom less than there are effective groups


INDEPENDENT = Design(1.0, float(ndtri(0.975)))


def design_effect(influence: np.ndarray, correct: np.ndarray, groups: np.ndarray | None) -> Design:
    """How much less a metric is known because its examples belong to groups (N,) text, "" for none.

    `influence` (N,) float64 is the change of the metric by each example, up to a factor; its sum is 0. `correct` (N,)
    bool tells which were predicted correctly: groups that are alike in this show little about their correlation.
    Kish, "Survey Sampling", 1965, for the design effect.
    """
    sizes = unit_sums(np.ones(len(influence)), groups)
    if len(sizes) == len(influence):
        return INDEPENDENT
    size = np.square(sizes).sum() / sizes.sum()  # of the group of an example, on average
    spread, sums = np.square(influence).sum(), unit_sums(influence, groups)
    effect = np.square(sums).sum() / spread * len(sizes) / max(len(sizes) - 1, 1) if spread else 1.0
    right = unit_sums(correct, groups)
    telling = min(np.count_nonzero(right), np.count_nonzero(right < sizes))
    correlation = (telling * np.clip((effect - 1) / (size - 1), 0, 1) + PRIOR) / (telling + 1)
    freedom = max(len(influence) / size - 1, 0.1)  # at 0.1, the interval is the whole range
    return Design(float(1 + (size - 1) * correlation), float(stdtrit(freedom, 0.975)))


def independent_fraction(correct: np.ndarray, groups: np.ndarray | None) -> float:
    """The number of independent examples that tell as much about an accuracy as one of these, in 0..1.

    `correct` (N,) bool and `groups` (N,) text as for `design_effect`. That few groups show their own correlation badly
    counts too: the fraction is lower by the square of the ratio of Student's quantile and the normal one.
    """
    if groups is None or not len(correct):
        return 1.0
    found = design_effect(correct - correct.mean(), correct, groups)
    return float(1 / (found.effect * (found.quantile / INDEPENDENT.quantile) ** 2))


def unit_sums(values: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """The sums (U,) float64 of values (N,) over the units of sampling.

    A unit is a group, of groups (N,) text, or an example whose group is "". Without groups, each example is a unit.
    """
    values = np.asarray(values, np.float64)
    if groups is None or (single := groups == "").all():
        return values
    _, index = np.unique(groups[~single], return_inverse=True)
    return np.concatenate([np.bincount(index, values[~single]), values[single]])
