"""Corruptions of rows of a table at five severities: what is missing, noisy or shifted in practice."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from darkroom.columns import schema
from darkroom.columns.schema import FIRST, MISSING, UNKNOWN, Schema
from darkroom.core.arrays import Split
from darkroom.core.randomness import numpy_generator

SEVERITIES = (1, 2, 3, 4, 5)
ARRAYS = "data/arrays"

_FRACTIONS, _SCALES = (0.05, 0.10, 0.20, 0.30, 0.50), (0.05, 0.10, 0.20, 0.40, 0.80)
STRENGTHS = {
    "missing_values": _FRACTIONS,  # of all values
    "missing_columns": _FRACTIONS,  # of all columns, in every row
    "unknown_categories": _FRACTIONS,  # of the categories
    "swapped_values": _FRACTIONS,  # of all values
    "noise": _SCALES,  # in standard deviations of the column
    "shift": _SCALES,
    "scale": _SCALES,  # as a fraction
    "rounding": _SCALES,  # to multiples of so many standard deviations
}


def applicable(shape: Sequence[int]) -> list[str]:
    """The names of the corruptions that can change rows of this shape: some are of numbers or of categories alone."""
    has_numbers, has_categories = 0 in shape, any(shape)
    needs = {"unknown_categories": has_categories} | dict.fromkeys(("noise", "shift", "scale", "rounding"), has_numbers)
    return [name for name in CORRUPTIONS if needs.get(name, True)]


def load(split: Split) -> tuple[np.ndarray, Schema]:
    """The rows of a part of the test split, and their columns."""
    return np.array(split.inputs), schema.parse((Path(ARRAYS) / schema.FILE).read_bytes())


def corrupt(given: tuple[np.ndarray, Schema], name: str, severity: int, seed: int) -> np.ndarray:
    """The corrupted rows (N, C) float32; `given` is a result of `load`, `name` one of CORRUPTIONS.

    The random numbers depend on `seed` and `name`, not on the severity: a higher one changes the same values, and more.
    """
    rows, described = given
    is_number = np.array([column.kind != "category" for column in described.columns])
    strength = STRENGTHS[name][SEVERITIES.index(severity)]
    return CORRUPTIONS[name](rows, is_number, strength, numpy_generator(seed, "corruption", name)).astype(np.float32)


# Each takes rows (N, C), which columns (C,) hold numbers, a strength, and a generator.
Corruption = Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]


def missing_values(rows: np.ndarray, is_number: np.ndarray, fraction: float, random: np.random.Generator) -> np.ndarray:
    """Values at random are missing."""
    return np.where(random.random(rows.shape) < fraction, np.where(is_number, np.nan, MISSING), rows)


def missing_columns(
    rows: np.ndarray, is_number: np.ndarray, fraction: float, random: np.random.Generator
) -> np.ndarray:
    """Whole columns are missing, at least one."""
    order = random.permutation(rows.shape[1])
    gone = np.isin(np.arange(rows.shape[1]), order[: max(1, round(fraction * rows.shape[1]))])
    return np.where(gone, np.where(is_number, np.nan, MISSING), rows)


def unknown_categories(
    rows: np.ndarray, is_number: np.ndarray, fraction: float, random: np.random.Generator
) -> np.ndarray:
    """Categories at random are unknown."""
    return np.where((random.random(rows.shape) < fraction) & ~is_number & (rows >= FIRST), UNKNOWN, rows)


def swapped_values(rows: np.ndarray, is_number: np.ndarray, fraction: float, random: np.random.Generator) -> np.ndarray:
    """Values at random are those of another row."""
    drawn, others = random.random(rows.shape), random.permuted(rows, axis=0)
    return np.where(drawn < fraction, others, rows)


def noise(rows: np.ndarray, is_number: np.ndarray, scale: float, random: np.random.Generator) -> np.ndarray:
    """Numbers get Gaussian noise."""
    return np.where(is_number, rows + scale * _deviations(rows) * random.standard_normal(rows.shape), rows)


def shift(rows: np.ndarray, is_number: np.ndarray, scale: float, random: np.random.Generator) -> np.ndarray:
    """All numbers of a column are higher, or lower, by as much."""
    signs = np.where(random.random(rows.shape[1]) < 0.5, -1, 1)
    return np.where(is_number, rows + scale * signs * _deviations(rows), rows)


def scale(rows: np.ndarray, is_number: np.ndarray, fraction: float, _: np.random.Generator) -> np.ndarray:
    """All numbers are larger, as by inflation."""
    return np.where(is_number, rows * (1 + fraction), rows)


def rounding(rows: np.ndarray, is_number: np.ndarray, scale: float, _: np.random.Generator) -> np.ndarray:
    """Numbers are rounded."""
    steps = scale * np.maximum(_deviations(rows), 1e-12)
    return np.where(is_number, np.round(rows / steps) * steps, rows)


CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (
        *(missing_values, missing_columns, unknown_categories, swapped_values),
        *(noise, shift, scale, rounding),
    )
}


def _deviations(rows: np.ndarray) -> np.ndarray:
    """The standard deviation (C,) of each column without missing values; 0 if there is none."""
    held = ~np.isnan(rows)
    count = np.maximum(held.sum(0), 1)
    filled = np.where(held, rows, 0).astype(np.float64)
    mean = filled.sum(0) / count
    return np.sqrt((np.where(held, filled - mean, 0) ** 2).sum(0) / count)
