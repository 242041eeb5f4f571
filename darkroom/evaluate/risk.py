"""What the probability of one of two classes is worth: how it ranks, how true it is, and what decisions by it cost.

The risk is the calibrated probability (N,) of the class `positive`, such as of a default; `is_positive` (N,) bool says
which examples are of that class. An example is refused if its risk reaches a threshold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from darkroom.core.randomness import numpy_generator
from darkroom.evaluate import fairness
from darkroom.evaluate.config import CostConfig
from darkroom.evaluate.probabilities import Table
from darkroom.models.logits import by_rows
from darkroom.statistics.intervals import wilson

DECILES = 10
MAX_DRAWS, MAX_WORK = 1000, 2e8  # of the bootstrap; fewer draws of more than 200,000 examples


def threshold(cost: CostConfig) -> float:
    """The risk from which a refusal costs less than the default that it avoids, if the risk is calibrated.

    Elkan, "The foundations of cost-sensitive learning", IJCAI 2001.
    """
    return cost.refused / (cost.refused + cost.missed)


def summary(
    risk: np.ndarray, is_positive: np.ndarray, cost: CostConfig, groups: np.ndarray | None = None
) -> dict[str, float]:
    """The measures of `_measures`, each with a 95 % bootstrap interval, and of decisions by `threshold`.

    Examples of one of `groups` (N,) text are drawn together ("": on its own); if a class lies in one group alone, no
    interval is known. `cost_refuse_none` and `cost_refuse_all` are the mean costs without a classifier. Empty if all
    examples are of one class.
    """
    if not 0 < is_positive.sum() < len(is_positive):
        return {}
    ranked, limit = _Ranked(risk, is_positive), threshold(cost)
    found = _measures(ranked, np.ones(len(risk)), limit, cost)
    units = _units(groups, len(risk))
    random, count = numpy_generator(0, "risk"), units.max() + 1
    can_vary = all(np.ptp(units[chosen]) for chosen in (is_positive, ~is_positive))
    draws = []
    for _ in range(int(min(MAX_DRAWS, max(100, MAX_WORK / len(risk)))) if can_vary else 0):
        weights = np.bincount(random.integers(count, size=count), minlength=count)[units].astype(np.float64)
        if 0 < weights[is_positive].sum() < weights.sum():
            draws.append(list(_measures(ranked, weights, limit, cost).values()))
    columns = {"": [*found.values()]}
    if draws:
        columns["_low"], columns["_high"] = np.quantile(draws, [0.025, 0.975], axis=0)
    rate, refused = float(is_positive.mean()), risk >= limit
    return {
        **{
            f"{name}{suffix}": float(values[place])
            for place, name in enumerate(found)
            for suffix, values in columns.items()
        },
        "positive_rate": rate,
        "refused_rate": float(refused.mean()),
        "refused_precision": float(is_positive[refused].mean()) if refused.any() else 0.0,
        "refused_recall": float(refused[is_positive].mean()),
        "cost_refuse_none": rate * cost.missed,
        "cost_refuse_all": (1 - rate) * cost.refused,
    }


@dataclass(frozen=True)
class Risks:
    """What is said of the risk; all empty if no class is one."""

    summary: Mapping[str, float] = field(default_factory=dict)
    decision: Mapping[str, Any] = field(default_factory=dict)  # for models/calibration.json
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # by file name
    lines: tuple[str, ...] = ()  # for the terminal


def measure(
    probabilities: Table,
    labels: np.ndarray,
    positive: int | None,
    cost: CostConfig,
    slices: Mapping[str, np.ndarray],
    groups: np.ndarray | None = None,
) -> Risks:
    """Measure calibrated probabilities (N, K) for labels (N,) int64 as risks of the class `positive`."""
    if positive is None:
        return Risks()
    risk = by_rows(lambda block: block[:, positive].copy(), probabilities)
    is_positive, limit = labels == positive, threshold(cost)
    found = summary(risk, is_positive, cost, groups)
    tables = {"risk_deciles.csv": deciles(risk, is_positive)}
    if slices:
        tables["fairness.csv"] = fairness.table(slices, risk, is_positive, limit)
    decision = {"positive": positive, "threshold": limit}
    return Risks(found, {"decision": decision}, tables, (line(found),) if found else ())


class _Ranked:
    """Examples in groups of the same risk, in rising order."""

    def __init__(self, risk: np.ndarray, is_positive: np.ndarray):
        self.risk, self.is_positive = risk, is_positive
        self.values, self.index = np.unique(risk, return_inverse=True)
        self.loss = (risk - is_positive) ** 2

    def counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weights of the positive and the other examples with each risk."""
        size = len(self.values)
        total = np.bincount(self.index, weights, size)
        positive = np.bincount(self.index, weights * self.is_positive, size)
        return positive, total - positive


def _measures(ranked: _Ranked, weights: np.ndarray, limit: float, cost: CostConfig) -> dict[str, float]:
    """Measures of weighted examples (N,).

    roc_auc  area under the ROC curve; ties count half
    gini     2 roc_auc - 1, the accuracy ratio
    pr_auc   area under the precision-recall curve, as the average precision
    ks       largest distance of the distributions of risk of the two classes (Kolmogorov-Smirnov)
    brier    mean squared error of the risk (Brier, "Verification of forecasts expressed in terms of probability", 1950)
    cost     mean cost of refusing from the risk `limit`
    """
    positive, other = ranked.counts(weights)
    total, rest = positive.sum(), other.sum()
    below = np.cumsum(other) - other
    auc = float((positive * (below + other / 2)).sum() / (total * rest))
    above = np.cumsum((positive + other)[::-1])[::-1]
    precision = np.cumsum(positive[::-1])[::-1] / np.maximum(above, 1e-12)
    missed = positive[ranked.values < limit].sum() * cost.missed
    refused = other[ranked.values >= limit].sum() * cost.refused
    return {
        "roc_auc": auc,
        "gini": 2 * auc - 1,
        "pr_auc": float((precision * positive).sum() / total),
        "ks": float(np.abs(np.cumsum(positive) / total - np.cumsum(other) / rest).max()),
        "brier": float((weights * ranked.loss).sum() / weights.sum()),
        "cost": float((missed + refused) / weights.sum()),
    }


def _units(groups: np.ndarray | None, count: int) -> np.ndarray:
    """The number (N,) of the unit of each example: its group, or itself."""
    if groups is None:
        return np.arange(count)
    names = np.where(groups == "", [f"\0{number}" for number in range(count)], groups)
    return np.unique(names, return_inverse=True)[1]


def deciles(risk: np.ndarray, is_positive: np.ndarray) -> pd.DataFrame:
    """One row per tenth of the examples by rising risk: decile, examples, risk (mean), rate, low and high.

    `rate` is the fraction that is positive, with Wilson's 95 % interval. Examples of equal risk are in one row.
    """
    tenth, rows = np.searchsorted(np.sort(risk), risk) * DECILES // len(risk), []
    for number in np.unique(tenth).tolist():
        own = tenth == number
        low, high = wilson(is_positive[own].sum(), own.sum())
        rows.append((number + 1, own.sum(), risk[own].mean(), is_positive[own].mean(), low, high))
    return pd.DataFrame(rows, columns=["decile", "examples", "risk", "rate", "low", "high"])


def line(found: Mapping[str, Any]) -> str:
    """The main numbers of a summary in one line, for the terminal."""
    is_known = "roc_auc_low" in found
    interval = f" ({found['roc_auc_low']:.4f} to {found['roc_auc_high']:.4f})" if is_known else ""
    return (
        f"ROC AUC {found['roc_auc']:.4f}{interval}, KS {found['ks']:.4f}, Brier score {found['brier']:.4f}; "
        f"cost {found['cost']:.4f} per example, "
        f"{found['cost_refuse_none']:.4f} if none and {found['cost_refuse_all']:.4f} if all are refused"
    )
