"""When events happened: a column of times, as numbers or dates, to seconds since 1970."""

import email.utils
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from darkroom.columns import values

FORMATS = "seconds or milliseconds since 1970, or a date such as 2024-01-31 or 2024-01-31T12:00:00Z"

# From these magnitudes on, a number counts milliseconds, microseconds and nanoseconds; as seconds, the first would be
# in the year 5138, and as milliseconds it is in 1973.
_UNITS = ((1e11, 1e-3), (1e14, 1e-6), (1e17, 1e-9))
_FIRST, _END = -62_135_596_800, 253_402_300_800  # seconds of the years 1 and 10,000: others are not times
_HALVES = re.compile(r"(?<![\d:])(1[0-2]|0?[1-9])(:\d\d(:\d\d)?)\s*([ap])(\.\s?m\.|m\b)", re.IGNORECASE)  # 9:05 p.m.
_UTC = re.compile(r"\s*(?:UTC|GMT)$", re.IGNORECASE)
# A date with the name of a month. email.utils passes over whatever else follows the time, such as other zones.
_NAMED = re.compile(
    r"[^:]*\b\d\d?:\d\d(:\d\d)?(\s*([+-]\d{4}|(UTC?|GMT|Z|[ECMP][SD]T)\b)(\s+\([^)]*\))?)?(\s+\d{4})?",
    re.IGNORECASE,
)
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?:[ T]+(.+))?")
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[ T]+(.+))?")
_YEAR_FIRST = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})(?:[ T]+(.+))?")
# Numbers that may be dates, such as 20240131 and 20240131120000
_CALENDAR = ((19_000_101, 99_991_231, "%Y%m%d"), (19_000_101_000_000, 99_991_231_235_959, "%Y%m%d%H%M%S"))


class Times:
    """The times of a column, seen block by block.

    A date such as 03/04/2024 is ambiguous alone: all of its kind in the column are read either day first or month
    first, whichever can be meant.
    """

    def __init__(self) -> None:
        self._day_first: list[np.ndarray] = []
        self._month_first: list[np.ndarray] = []
        self._plain: list[bool] = []  # the blocks of only numbers

    def see(self, cells: Sequence[str]) -> None:
        """Read the next values of the column."""
        numbers = values.plain(cells)
        self._plain.append(numbers is not None)
        if numbers is not None:
            self._day_first.append(numbers)
            self._month_first.append(numbers)
            return
        known = {cell: _parsed(cell) for cell in set(cells)}
        both = np.array([known[cell] for cell in cells], np.float64)
        self._day_first.append(both[:, 0])
        self._month_first.append(both[:, 1])

    def seconds(self) -> np.ndarray:
        """Seconds (N,) float64 since 1970 of all values; NaN for one that is not a time.

        Raises ValueError if all dates with slashes can be read in two ways.
        """
        if all(self._plain):
            numbers = np.concatenate(self._day_first)
            found = _of_calendar(numbers)
            return scaled(numbers) if found is None else found
        day_first, month_first = (
            np.concatenate([_each(part) if plain else part for part, plain in zip(parts, self._plain, strict=True)])
            for parts in (self._day_first, self._month_first)
        )
        bad = np.isnan(day_first), np.isnan(month_first)
        differ = ~bad[0] & ~bad[1] & (day_first != month_first)
        if differ.any() and bad[0].sum() == bad[1].sum():
            raise ValueError("may be day/month or month/day: write dates as 2024-01-31")
        return month_first if bad[1].sum() < bad[0].sum() else day_first


def scaled(numbers: np.ndarray) -> np.ndarray:
    """Seconds (N,) of numbers (N,) that count seconds, milliseconds, microseconds or nanoseconds, by their size.

    NaN for one that is not a time.
    """
    found = numbers.astype(np.float64)
    for least, unit in _UNITS:
        found = np.where(np.abs(numbers) >= least, numbers * unit, found)
    return np.where((found >= _FIRST) & (found < _END), found, np.nan)


def _of_calendar(numbers: np.ndarray) -> np.ndarray | None:
    """Seconds (N,) of numbers (N,) that are all dates such as 20240131, or all such as 20240131120000; else None."""
    distinct, index = np.unique(numbers, return_inverse=True)
    for first, last, form in _CALENDAR:
        if not len(distinct) or distinct[0] < first or distinct[-1] > last or (distinct % 1).any():
            continue
        try:
            dates = [datetime.strptime(str(int(one)), form).replace(tzinfo=UTC) for one in distinct]
        except ValueError:
            continue
        return np.array([date.timestamp() for date in dates])[index]
    return None


def _each(numbers: np.ndarray) -> np.ndarray:
    """Seconds (N,) of numbers (N,) that stand beside dates: each is such a date or is scaled."""
    distinct, index = np.unique(numbers, return_inverse=True)
    found = scaled(distinct)
    for first, last, _ in _CALENDAR:
        for place in np.flatnonzero((distinct >= first) & (distinct <= last)):
            date = _of_calendar(distinct[[place]])
            if date is not None:
                found[place] = date[0]
    return found[index]


def _parsed(cell: str) -> tuple[float, float]:
    """Seconds since 1970 of a value, if a date with slashes has the day first, and if it has the month first."""
    text = _HALVES.sub(_of_day, cell.strip())
    try:
        return (float(_each(np.array([values.number(text)]))[0]),) * 2
    except ValueError:
        pass
    if slashed := _SLASHED.fullmatch(text):
        first, second, year, rest = slashed.groups()
        return _date(year, second, first, rest), _date(year, first, second, rest)
    if dotted := _DOTTED.fullmatch(text):
        day, month, year, rest = dotted.groups()
        return (_date(year, month, day, rest),) * 2
    if year_first := _YEAR_FIRST.fullmatch(text):
        return (_date(*year_first.groups()),) * 2
    return (_iso(text),) * 2


def _date(year: str, month: str, day: str, rest: str | None) -> float:
    return _iso(f"{year}-{month:0>2}-{day:0>2}" + (f"T{_padded(rest)}" if rest else ""))


def _padded(time: str) -> str:
    """A time of day with two digits of the hour, as ISO 8601 has it."""
    return re.sub(r"^(\d):", r"0\1:", time)


def _of_day(half: re.Match[str]) -> str:
    """A time of 12 hours as one of 24."""
    hour = int(half[1]) % 12 + (12 if half[4] in "pP" else 0)
    return f"{hour:02}{half[2]}"


def _iso(text: str) -> float:
    try:
        found = _date_of(text)
        seconds = found.replace(tzinfo=found.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        return math.nan
    return seconds if _FIRST <= seconds < _END else math.nan


def _date_of(text: str) -> datetime:
    try:
        return datetime.fromisoformat(_UTC.sub("Z", text))
    except ValueError:
        if not _NAMED.fullmatch(text):
            raise
        return email.utils.parsedate_to_datetime(text)
