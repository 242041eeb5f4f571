"""The columns of a table, typed by their values, in one pass over the rows."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from darkroom.columns import values

_NUMBER_OR_DATE = re.compile(r"\W{0,2}\d[\d.,' /-]*\D{0,8}")  # such as 1.234,50 €, 12%, 36 months or 01/31/2024
Kind = Literal["number", "date", "category"]
MAX_CATEGORIES = 10_000  # that are kept of a column; the others are unknown
MIN_FITTING = 0.95  # fraction of the values of a column of numbers or dates that are such; the others are missing ones
MAX_ABSENT = 20  # different texts that may stand for a missing number or date


@dataclass
class Profile:
    """What is known of a column after some rows."""

    name: str
    rows: int = 0
    missing: int = 0
    infinite: int = 0
    fitting: dict[str, int] = field(default_factory=lambda: {"number": 0, "date": 0})
    others: dict[str, dict[str, int]] = field(default_factory=lambda: {"number": {}, "date": {}})
    categories: dict[str, int] = field(default_factory=dict)
    rising: bool = True  # whether each number is the one before it and 1
    _last: float | None = None

    def see(self, cells: Sequence[str]) -> None:
        """Add the values of further rows."""
        self.rows += len(cells)
        full = len(self.categories) > MAX_CATEGORIES and len(self.others["date"]) > MAX_ABSENT
        if full and (found := values.plain(cells)) is not None:  # numbers of which no names are kept
            self.fitting["number"] += len(cells)
            self._check_rising(found)
            return
        for cell, count in Counter(cells).items():
            if values.is_missing(cell):
                self.missing += count
                self.infinite += count * values.is_infinite(cell)
                continue
            self._fit(cell, count)
            name = values.category(cell)
            if name in self.categories or len(self.categories) <= MAX_CATEGORIES:
                self.categories[name] = self.categories.get(name, 0) + count
        if self.rising:
            self._check_rising(values.numbers(cells))

    def _check_rising(self, found: np.ndarray) -> None:
        start = found[0] - 1 if self._last is None else self._last
        self.rising = self.rising and bool((np.diff(found, prepend=start) == 1).all())
        self._last = float(found[-1])

    def _fit(self, cell: str, count: int) -> None:
        for kind, parse in (("number", values.number), ("date", values.day)):
            others = self.others[kind]
            if len(others) > MAX_ABSENT:
                continue
            try:
                parse(cell)
                self.fitting[kind] += count
            except ValueError:
                others[cell.strip()] = others.get(cell.strip(), 0) + count

    @property
    def held(self) -> int:
        """The number of values that are not missing."""
        return self.rows - self.missing

    @property
    def resembles(self) -> str:
        """One of the categories if nearly all look like numbers or dates in another notation; else ""."""
        alike = [name for name in self.categories if _NUMBER_OR_DATE.fullmatch(name)]
        return alike[0] if alike and len(alike) >= MIN_FITTING * len(self.categories) else ""

    def fits(self, kind: str) -> bool:
        """Whether the values are numbers or dates."""
        few = len(self.others[kind]) <= MAX_ABSENT
        return bool(self.held) and few and self.fitting[kind] >= MIN_FITTING * self.held


def typed(profile: Profile, wanted: Mapping[str, Kind]) -> tuple[Kind, str]:
    """The kind of a column and why: as `wanted` by name, else by its values."""
    if profile.name in wanted:
        return wanted[profile.name], "dataset.yaml"
    kind: Kind = next((kind for kind in ("number", "date") if profile.fits(kind)), "category")
    if kind == "category":
        return kind, "all values are missing" if not profile.held else "texts"
    others = sum(profile.others[kind].values())
    return kind, f"all but {others} of {profile.held} values are such" if others else "all values are such"
