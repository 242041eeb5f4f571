"""What the audits of images and texts count: drift between the splits, findings, near duplicates."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from darkroom.bundle import stability
from darkroom.core.arrays import UNLABELLED
from darkroom.statistics.multiple import holm


def drift(counts: pd.DataFrame, feature: str, measured: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The other splits against the training set: `index` (None: too few examples), Holm-adjusted `p`.

    `counts` are those of `report.counts`, and `measured` the values (N,) of a feature by split. The classes of
    unlabelled examples are unknown. Splits without examples are left out.
    """
    measured = {name: values for name, values in measured.items() if len(values)}
    if "train" not in measured:
        return []
    edges = stability.edges(measured["train"])
    bins = {
        "classes": {name: counts[name].to_numpy() for name in measured if name != UNLABELLED},
        feature: {name: stability.binned(edges, values) for name, values in measured.items()},
    }
    rows = [
        {"split": name, "feature": title, "index": _index(some["train"], some[name])}
        for name in measured
        for title, some in bins.items()
        if name != "train" and name in some
    ]
    p = [stability.p_value(bins[row["feature"]]["train"], bins[row["feature"]][row["split"]]) for row in rows]
    return [{**row, "p": value} for row, value in zip(rows, holm(np.array(p)).tolist(), strict=True)]


def _index(expected: np.ndarray, observed: np.ndarray) -> float | None:
    """The population stability index of counts (B,); None if there are too few examples for it."""
    enough = min(expected.sum(), observed.sum()) >= stability.min_samples(len(expected))
    return stability.stability(expected, observed) if enough else None


def count_by(table: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    """The number of rows by the values of the columns: these values, and the number."""
    return list(table.groupby(columns).size().reset_index().itertuples(index=False, name=None))


def count_pairs(near_duplicates: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Number of pairs by the splits of their examples, most frequent first."""
    splits = [" and ".join(sorted(row)) for row in near_duplicates[["first_split", "second_split"]].to_numpy().tolist()]
    return list(pd.Series(splits, dtype=str).value_counts().items())
