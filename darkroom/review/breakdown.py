"""Accuracy by class, by slice and by corruption: where a change made the classifier better or worse."""

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from darkroom.review import significance
from darkroom.review.result import SCORES
from darkroom.review.significance import LEVEL
from darkroom.statistics.multiple import holm

# The standard deviation over retrainings of a subset's error, beyond the sampling of its examples, as a fraction of
# that error. Over eight recipes of 8 to 33 trainings each, on Fashion-MNIST and MNIST, the root mean square over
# classes is 0.10; with 0.15, some class is called different in at most 2.2 % of the pairs of one recipe. McNemar's test
# alone calls some class different in up to 91 % of them.
RETRAINING = 0.15
MAX_VALUES = 1000  # of a slice; a column with more tells examples apart, not kinds of examples


def by(
    subsets: np.ndarray, old: np.ndarray, new: np.ndarray, groups: np.ndarray | None = None, retrained: bool = True
) -> pd.DataFrame:
    """Compare the accuracies of disjoint subsets of the examples, such as classes, in the order of their names.

    `subsets` (N,) names each example's; old and new (N,) bool say which were predicted correctly. Columns: value
    (the name), examples, old, new, difference, low, high, p. Unlike a model's, a subset's accuracy also varies with the
    seed: classes that are easily confused win and lose examples to each other. So the variance is that of the paired
    difference plus, if `retrained`, twice that of a retraining. p is the larger of this test's and McNemar's exact one,
    Holm-adjusted for the subsets. Groups (N,) are the units of sampling if given.
    """
    names, code = np.unique(subsets.astype(str), return_inverse=True)

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(code[chosen], minlength=len(names))

    n, fixed, broken = np.bincount(code), count(~old & new), count(old & ~new)
    before, after = count(old) / n, count(new) / n
    change, gained, lost = after - before, (fixed + 1) / (n + 2), (broken + 1) / (n + 2)
    variance = (gained + lost - (gained - lost) ** 2) / (n + 2)  # Bonett and Price, as in significance.accuracy
    number, freedom = significance.grouped(groups), np.full(len(names), np.inf)
    exact = significance.mcnemar(fixed, broken)
    if number is not None:
        deviations = new.astype(float) - old - change[code]
        pairs, unit = np.unique(np.stack([code, number]), axis=1, return_inverse=True)
        squares = np.bincount(pairs[0], np.bincount(unit.ravel(), deviations) ** 2)
        units = np.bincount(pairs[0])
        clustered = np.where(units > 1, squares / n**2 * units / np.maximum(units - 1, 1), 1.0)
        variance, freedom = np.maximum(variance, clustered), np.maximum(1, units - 1)
        exact = np.zeros(len(names))  # it knows no groups
    mean = (before + after) / 2
    # Rare hits of recommendations vary as rare errors do: not with the many misses
    error = np.sqrt(variance + retrained * 2 * (RETRAINING * np.minimum(mean, 1 - mean)) ** 2)
    p = np.maximum(exact, 2 * t.sf(np.abs(change) / error, freedom))
    middle = (fixed - broken) / (n + 2) if number is None else change
    half = np.where(np.isinf(freedom), norm.isf(LEVEL / 2), t.isf(LEVEL / 2, freedom)) * error
    return pd.DataFrame(
        {
            "value": names,
            "examples": n,
            "old": before,
            "new": after,
            "difference": change,
            "low": np.maximum(-1, middle - half),
            "high": np.minimum(1, middle + half),
            "p": holm(p),
        }
    )


def slices(
    columns: pd.DataFrame, old: np.ndarray, new: np.ndarray, groups: np.ndarray | None, retrained: bool
) -> pd.DataFrame:
    """The same for each of the columns (N rows), under `column`; an empty cell belongs to no slice."""
    tables = []
    for name, values in columns.items():
        known = values.to_numpy() != ""
        if known.any() and values.nunique() <= MAX_VALUES:
            of_known = groups[known] if groups is not None else None
            table = by(values.to_numpy()[known], old[known], new[known], of_known, retrained)
            tables.append(table.assign(column=name))
    if not tables:
        return nothing().assign(column="")
    return pd.concat(tables, ignore_index=True)


def nothing() -> pd.DataFrame:
    """The table of `by` without a row."""
    return by(np.array(["none"]), np.array([True]), np.array([True])).iloc[:0]


def significant(table: pd.DataFrame, better: bool) -> pd.DataFrame:
    """The rows that became significantly better or worse, the largest change first."""
    chosen = table[(table["p"] < LEVEL) & ((table["difference"] > 0) == better)]
    return chosen.loc[chosen["difference"].abs().sort_values(ascending=False, kind="stable").index]


def corruptions(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Mean scores under each corruption that both sides measured, over the severities that both measured.

    old and new have the columns corruption, severity and some of SCORES. Columns: corruption, severities (text), score
    (the last of SCORES that both have), old, new.
    """
    score = [name for name in SCORES if name in old and name in new][-1]
    both = old.merge(new, on=["corruption", "severity"], suffixes=("_old", "_new"))
    grouped = both.groupby("corruption", sort=False, as_index=False)
    means = {side: (f"{score}_{side}", "mean") for side in ("old", "new")}
    return grouped.agg(severities=("severity", ", ".join), **means).assign(score=score)


def unshared(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """The pairs of corruption and severity that only one side measured, as texts."""
    sides = [{f"{row.corruption} {row.severity}": None for row in side.itertuples()} for side in (old, new)]
    return [name for one, other in (sides, sides[::-1]) for name in one if name not in other]
