"""Accuracy by the values of the user's columns, such as hospital or camera: where the classifier is weak."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import closest
from darkroom.statistics.intervals import fraction_interval

GROUP = "group"
MAX_VALUES = 50  # of a column; the rarest are merged
MAX_NUMBERS = 10  # different numbers of a column; more are put into quarters of the test set
OTHERS = "(other values)"


def require_known(wanted: Iterable[str], known: Sequence[str]) -> None:
    """Raise DarkroomError if a column of `evaluate.slices` is not one of the `known` ones of the dataset."""
    for name in wanted:
        if name not in known:
            similar = closest(name, known)
            there = (
                f"it has {', '.join(map(repr, known))}" if known else "it has none: they come from a manifest or table"
            )
            hint = f"; did you mean {similar}?" if similar else "; choose from these, or set evaluate.slices to []."
            raise DarkroomError(f"evaluate.slices: {name!r} is not a column of the dataset: {there}{hint}")


def values(columns: Mapping[str, np.ndarray], wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """The slice (N,) object of each example by each wanted column; "" if the column is empty there.

    From the columns (N,) text of the test set. Of a column with more than MAX_NUMBERS different numbers and nothing
    else, except the group, the slices are quarters of the test set. Of other columns the rarest values become OTHERS,
    if there are more than MAX_VALUES. Raises DarkroomError if a column is unknown.
    """
    require_known(wanted, list(columns))
    texts = {name: columns[name].astype(object) for name in wanted}
    return {name: _merged(of if name == GROUP else _quarters(of)) for name, of in texts.items()}


def tracked(columns: Mapping[str, np.ndarray], slices: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns (N,) that metrics/predictions.csv adds: the group as it is, if there are groups, then the slices."""
    group = {GROUP: columns[GROUP]} if GROUP in columns else {}
    return {**group, **{name: of for name, of in slices.items() if name != GROUP}}


def table(slices: Mapping[str, np.ndarray], correct: np.ndarray, groups: np.ndarray | None) -> pd.DataFrame:
    """One row per slice: column, value, examples, accuracy, and bounds low and high of its 95 % confidence interval.

    From the slices (N,) of each column, correct (N,) bool and groups (N,) text. Values are in their order, numbers by
    size. Examples without a value are in no slice.
    """
    rows = []
    for column, of in slices.items():
        names, index = np.unique(of.astype(str), return_inverse=True)
        order = np.argsort(index, kind="stable")
        of_slices = np.split(order, np.cumsum(np.bincount(index))[:-1])
        for position in in_order(names):
            if name := names[position]:
                own = of_slices[position]
                low, high = fraction_interval(correct[own], None if groups is None else groups[own])
                accuracy = correct[own].mean()
                rows.append((column, str(name), len(own), accuracy, low, high))
    return pd.DataFrame(rows, columns=["column", "value", "examples", "accuracy", "low", "high"])


def _quarters(texts: np.ndarray) -> np.ndarray:
    """The texts (N,) object; many different numbers as `a to b` of their quarter."""
    given = texts != ""
    if len(set(texts[given])) <= MAX_NUMBERS or (numbers := _numbers(texts[given])) is None:
        return texts
    quarter = np.searchsorted(np.unique(np.quantile(numbers, [0.25, 0.5, 0.75])), numbers)
    found, order = texts.copy(), np.argsort(numbers, kind="stable")
    of_quarters = [order[quarter[order] == one] for one in np.unique(quarter)]
    names = np.empty(len(numbers), object)
    for rows in of_quarters:
        first, last = texts[given][rows[0]], texts[given][rows[-1]]
        names[rows] = first if first == last else f"{first} to {last}"
    found[given] = names
    return found


def _numbers(texts: np.ndarray) -> np.ndarray | None:
    """The texts as float64, or None if one is not a finite number."""
    try:
        numbers = texts.astype(np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _merged(texts: np.ndarray) -> np.ndarray:
    names, index, counts = np.unique(texts.astype(str), return_inverse=True, return_counts=True)
    counts = np.where(names == "", 0, counts)
    if np.count_nonzero(counts) <= MAX_VALUES:
        return texts
    rare = np.argsort(-counts, kind="stable")[MAX_VALUES - 1 :]
    return np.where(np.isin(index, rare) & (texts != ""), OTHERS, texts)


def in_order(names: np.ndarray) -> np.ndarray:
    """Positions of the names: numbers, and intervals by their lower end, by size; OTHERS last."""
    others = names == OTHERS
    given, keys = ~others & (names != ""), np.zeros(len(names))
    numbers = _numbers(np.array([name.partition(" to ")[0] for name in names[given]], dtype=object))
    if numbers is not None:
        keys[given] = numbers
    return np.lexsort([np.arange(len(names)), keys, others])
