"""The columns of a table, and one row to the numbers that a network gets.

A column holds numbers, dates (as days since 1970) or categories. A row becomes C values float32: a number, NaN if it is
missing, or the index of a category: 0 if it is missing, 1 if it is unknown, else that of its name, from 2.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from darkroom.columns import values
from darkroom.core.errors import DarkroomError

FILE = "columns.json"
MISSING, UNKNOWN, FIRST = 0, 1, 2  # indices of categories


class Unusable(ValueError):
    """The row cannot be used; the message says why in a few words."""


@dataclass(frozen=True)
class Column:
    """One column, as far as the training rows show it."""

    name: str
    kind: Literal["number", "date", "category"]
    categories: tuple[str, ...] = ()  # of indices FIRST and up; others are unknown
    low: float | None = None  # of the training rows; None if all are missing
    high: float | None = None
    absent: tuple[str, ...] = ()  # texts among its numbers or dates that stand for a missing one

    @property
    def size(self) -> int:
        """The kinds of categories that it can hold, with the missing and the unknown one; 0 for numbers and dates."""
        return len(self.categories) + FIRST if self.kind == "category" else 0

    @cached_property
    def indices(self) -> dict[str, int]:
        """The index of each category; that of "" is MISSING."""
        return {"": MISSING, **{name: index for index, name in enumerate(self.categories, FIRST)}}

    def value(self, given: Any) -> float:
        """The number or index of a value; raise ValueError that says what is allowed."""
        if self.kind == "category":
            if isinstance(given, dict | list):
                raise ValueError("must be a text or a number")
            return self.indices.get(values.category(given), UNKNOWN)
        if isinstance(given, str) and given.strip() in self.absent:
            return math.nan
        return (values.day if self.kind == "date" else values.number)(given)

    def text(self, value: float) -> str:
        """A value of `value` as a text; "" if it is missing."""
        if self.kind == "category":
            index = int(value)
            return self.categories[index - FIRST] if index >= FIRST else "" if index == MISSING else "(unknown)"
        if math.isnan(value):
            return ""
        return values.written_day(value) if self.kind == "date" else f"{value:.7g}"

    def is_outside(self, value: float) -> bool:
        """Whether a number is outside of the range of the training rows."""
        return (
            self.kind != "category" and self.low is not None and not (self.low <= value <= self.high or value != value)
        )


@dataclass(frozen=True)
class Remarks:
    """What is odd about a row, by names of columns."""

    missing: tuple[str, ...]
    unknown: tuple[str, ...]  # categories that are not in the training rows
    outside: tuple[str, ...]  # numbers that are outside of the range of the training rows
    ignored: tuple[str, ...]  # columns that the table does not have


@dataclass(frozen=True)
class Schema:
    """The columns of a table, and what is predicted from them."""

    target: str
    positive: str | None  # the class whose probability is the risk; None if there are more than two
    columns: tuple[Column, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The `size` of each column."""
        return tuple(column.size for column in self.columns)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def row(self, given: Mapping[str, Any]) -> tuple[np.ndarray, Remarks]:
        """The values (C,) float32 of a row by names of columns, and what is odd about it; raise Unusable.

        A column that is not given is missing.
        """
        row = np.empty(len(self.columns), np.float32)
        if not any(column.name in given for column in self.columns):
            wanted = ", ".join(self.names[:5])
            raise Unusable(f"it has none of the columns {wanted}{' and others' if len(self.columns) > 5 else ''}")
        for index, column in enumerate(self.columns):
            try:
                row[index] = column.value(given.get(column.name))
            except ValueError as error:
                raise Unusable(f"{column.name} = {given[column.name]!r:.60} {error}") from None
        return row, self._remarks(row, given)

    def _remarks(self, row: np.ndarray, given: Mapping[str, Any]) -> Remarks:
        pairs = list(zip(self.columns, row.tolist(), strict=True))
        kinds = [(column, value) for column, value in pairs if column.kind == "category"]
        known = {*self.names, self.target}
        return Remarks(
            missing=tuple(one.name for one, value in pairs if math.isnan(value) or (one.size and value == MISSING)),
            unknown=tuple(column.name for column, value in kinds if value == UNKNOWN),
            outside=tuple(column.name for column, value in pairs if column.is_outside(value)),
            ignored=tuple(str(name) for name in given if name not in known),
        )


def to_json(schema: Schema) -> str:
    """The contents of columns.json."""
    return json.dumps(asdict(schema), ensure_ascii=False, indent=1) + "\n"


def parse(contents: bytes | str, source: object = FILE) -> Schema:
    """Read what `to_json` wrote; raise DarkroomError that names `source`."""
    try:
        given = json.loads(contents)
        columns = tuple(
            Column(**{**one, **{name: tuple(one[name]) for name in ("categories", "absent")}})
            for one in given["columns"]
        )
        if any(column.kind not in ("number", "date", "category") for column in columns) or not columns:
            raise ValueError("a column has an unknown kind")
        return Schema(given["target"], given["positive"], columns)
    except (ValueError, TypeError, KeyError) as error:
        raise DarkroomError(f"{source} does not describe columns ({error}): write it again.") from None


def texts(schema: Schema, rows: np.ndarray, name: str) -> Sequence[str]:
    """The values of one column of rows (N, C) as texts."""
    index = schema.names.index(name)
    found, inverse = np.unique(rows[:, index], return_inverse=True, equal_nan=True)
    written = [schema.columns[index].text(value) for value in found.tolist()]
    return [written[place] for place in inverse.tolist()]
