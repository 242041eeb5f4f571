"""What is known of items, as numbers: one feature for each tag, category, group of numbers or word."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from darkroom.columns import values

MAX_FEATURES = 256  # of all columns; the most frequent ones are kept
MIN_ITEMS = 5  # items of a feature, at least
MAX_CATEGORIES = 50  # different values of a column of categories
TAGS = "|"  # between several values of one column
_QUANTILES = 8  # groups of a column of numbers
_WORD = re.compile(r"[^\W\d_]{3,}")


def build(columns: Mapping[str, Mapping[str, str]], items: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The names (F) of the features and their values (K, F) float32 for the K items, given the text of each column.

    An item with n features has n^-1/2 in each of them, and 0 in the others. A column holds tags if a value has TAGS;
    numbers; categories if it has at most MAX_CATEGORIES different values; or else texts, whose features are words.
    """
    found: list[set[str]] = [set() for _ in items]
    for name, cells in columns.items():
        own = [cells.get(item, "") for item in items]
        for features, given in zip(found, _features(own), strict=True):
            features.update(f"{name}: {one}" for one in given)
    counts = Counter(one for features in found for one in features)
    frequent = sorted((one for one in counts if counts[one] >= MIN_ITEMS), key=lambda one: (-counts[one], one))
    names = frequent[:MAX_FEATURES]
    place = {name: number for number, name in enumerate(names)}
    table = np.zeros((len(items), len(names)), np.float32)
    for row, features in zip(table, found, strict=True):
        if chosen := [place[one] for one in features if one in place]:
            row[chosen] = len(chosen) ** -0.5
    return names, table


def _features(cells: Sequence[str]) -> Iterator[set[str]]:
    """The features of each value of a column."""
    held = [cell for cell in cells if not values.is_missing(cell)]
    numbers = values.numbers(cells)
    if any(TAGS in cell for cell in held):
        yield from ({tag.strip() for tag in cell.split(TAGS)} - {""} for cell in cells)
    elif len(set(held)) <= MAX_CATEGORIES:
        yield from (set() if values.is_missing(cell) else {values.category(cell)} for cell in cells)
    elif np.isfinite(numbers).sum() == len(held):
        edges = np.unique(np.quantile(numbers[np.isfinite(numbers)], np.linspace(0, 1, _QUANTILES + 1)[1:-1]))
        yield from (set() if np.isnan(one) else {f"group {np.searchsorted(edges, one, 'right')}"} for one in numbers)
    else:
        yield from (set(_WORD.findall(cell.casefold())) for cell in cells)
