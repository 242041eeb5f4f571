"""Which attribution method is more faithful than the others by more than chance, from the areas of each image."""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr

from darkroom.explain.faithfulness import CURVES, RANDOM
from darkroom.statistics.intervals import mean_interval, unit_sums
from darkroom.statistics.multiple import holm

LEVEL = 0.05
TITLES = {
    "integrated_gradients": "integrated gradients",
    "grad_cam": "Grad-CAM",
    "occlusion": "occlusion",
    "leave_one_out": "leave-one-out",
    "shapley": "Shapley values",
}


def compare(areas: Mapping[str, np.ndarray], groups: np.ndarray | None = None) -> pd.DataFrame:
    """Every pair of methods on the same images, from areas (2, n) as of `faithfulness.areas`.

    Columns: curve, method, other, advantage (the mean difference of the areas, positive if the method is better than
    the other), low and high (its 95 % confidence interval), p (of the paired t-test, by Holm for all pairs of a curve).
    Images of one of `groups` (n,) unicode are not independent: then the groups are the units.
    """
    tables = []
    for curve, sign in enumerate((-1, 1)):  # a small area is good for deletion, a large one for insertion
        pairs = list(combinations(areas, 2))
        found = [sign * (areas[method][curve] - areas[other][curve]) for method, other in pairs]
        low, high = np.transpose([mean_interval(advantage, groups) for advantage in found])
        one = pd.DataFrame(pairs, columns=["method", "other"])
        one.insert(0, "curve", CURVES[curve])
        p = holm(np.array([_paired_p(advantage, groups) for advantage in found]))
        tables.append(one.assign(advantage=[some.mean() for some in found], low=low, high=high, p=p))
    # An interval of one unit is infinite
    return pd.concat(tables, ignore_index=True).replace([-np.inf, np.inf], np.nan)


def most_faithful(comparisons: pd.DataFrame) -> dict[str, str | None]:
    """By curve, the method that is better than every other, random order included; None if none is.

    `comparisons` is a result of `compare`. Better means that the interval of the advantage lies above 0, and that p is
    below LEVEL.
    """
    found = {}
    for curve in CURVES:
        names, better = _methods(comparisons), _better(comparisons, curve)
        best = (one for one in TITLES if one in names and all((one, other) in better for other in names - {one}))
        found[curve] = next(best, None)
    return found


def statements(comparisons: pd.DataFrame) -> list[str]:
    """The result in one sentence for each curve; it names the methods that were not better than a random order."""
    lines = []
    for curve, best in most_faithful(comparisons).items():
        better, names = _better(comparisons, curve), _methods(comparisons)
        worse = [title for name, title in TITLES.items() if (RANDOM, name) in better]
        as_good = [
            title for name, title in TITLES.items() if name in names and not {(name, RANDOM), (RANDOM, name)} & better
        ]
        line = f"{curve.capitalize()}: "
        line += f"{TITLES[best]} is the most faithful" if best else "no method is better than all others"
        line += f"; not shown to be better than a random order: {', '.join(as_good)}" if as_good else ""
        line += f"; worse than a random order: {', '.join(worse)}" if worse else ""
        lines.append(f"{line}.")
    return lines


def summary(areas: Mapping[str, np.ndarray], comparisons: pd.DataFrame, groups: np.ndarray | None) -> dict[str, Any]:
    """The numbers of metrics/explain.json.

    For each method the mean area under both curves with its 95 % confidence interval (null if all images are of one
    group), and the most faithful method by curve, null if none is better than all others.
    """
    found: dict[str, Any] = {"faithfulness_images": len(areas[RANDOM][0])}
    for method, values in areas.items():
        for name, one in zip((f"{method}_{curve}" for curve in CURVES), values, strict=True):
            bounds = [float(bound) if math.isfinite(bound) else None for bound in mean_interval(one, groups)]
            found |= dict(zip((name, f"{name}_low", f"{name}_high"), (float(one.mean()), *bounds), strict=True))
    return found | {f"most_faithful_{curve}": best for curve, best in most_faithful(comparisons).items()}


def _methods(comparisons: pd.DataFrame) -> set[str]:
    return {*comparisons["method"], *comparisons["other"]}


def _better(comparisons: pd.DataFrame, curve: str) -> set[tuple[str, str]]:
    """The pairs of a better and a worse method."""
    rows = comparisons[(comparisons["curve"] == curve) & (comparisons["p"] < LEVEL)]
    return {(row.method, row.other) for row in rows.itertuples() if row.low > 0} | {
        (row.other, row.method) for row in rows.itertuples() if row.high < 0
    }


def _paired_p(differences: np.ndarray, groups: np.ndarray | None) -> float:
    """The two-sided p-value of the t-test that the mean of differences (n,) is 0; 1 of fewer than two units."""
    sums, sizes = unit_sums(differences, groups), unit_sums(np.ones(len(differences)), groups)
    n, mean = len(sums), differences.mean()
    if n < 2 or mean == 0:
        return 1.0
    error = np.sqrt(np.square(sums - mean * sizes).sum() * n / (n - 1)) / sizes.sum()
    return float(2 * stdtr(n - 1, -abs(mean) / error)) if error else 0.0
