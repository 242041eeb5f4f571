"""One value of a table, as a text or from JSON, to a number or a category."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

MISSING = frozenset(("", "na", "n/a", "n.a.", "nan", "null", "none", "nil", "missing", "?", "-", "."))  # any case
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_INFINITE = re.compile(r"[-+]?inf(inity)?", re.IGNORECASE)
_GERMAN_DATE = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
_LEADING_ZERO = re.compile(r"[-+]?0\d")
_EXACT = 2**53  # from which a float64 does not hold every whole number
LARGEST = float(np.finfo(np.float32).max)
_DAY = 86_400  # seconds


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: null, NaN, infinity, or a text of MISSING."""
    if value is None or isinstance(value, float):
        return value is None or not math.isfinite(value)
    return isinstance(value, str) and (value.strip().casefold() in MISSING or is_infinite(value))


def is_infinite(value: Any) -> bool:
    """Whether a value is an infinite number."""
    if isinstance(value, str):
        return bool(_INFINITE.fullmatch(value.strip()))
    return isinstance(value, float) and math.isinf(value)


def number(value: Any) -> float:
    """The number that a value is; NaN for a missing one, or one too large for float32. Raises ValueError for others."""
    if is_missing(value):
        return math.nan
    if not isinstance(value, int | float) and not (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
        raise ValueError("must be a number")
    try:
        found = float(value)
    except OverflowError:  # of a long integer
        return math.nan
    return found if abs(found) <= LARGEST else math.nan


def day(value: Any) -> float:
    """The days since 1970 of a date, such as 2024-01-31, 2024-01-31T12:00:00Z or 31.01.2024; NaN for a missing one.

    Raises ValueError if the value is not such a date.
    """
    if is_missing(value):
        return math.nan
    text = value.strip().replace("/", "-") if isinstance(value, str) else ""
    try:
        if german := _GERMAN_DATE.fullmatch(text):
            found = datetime(*map(int, german.groups()[::-1]), tzinfo=UTC)
        elif len(text) < len("2024-01-31"):  # 20240131 is a number
            raise ValueError
        else:
            found = datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or UTC).timestamp() / _DAY
    except (ValueError, OverflowError):
        raise ValueError("must be a date such as 2024-01-31") from None


def written_day(days: float) -> str:
    """The date of so many days since 1970, as ISO 8601; the first or the last that there is, if they were rounded."""
    ordinal = date(1970, 1, 1).toordinal() + math.floor(days)
    return date.fromordinal(min(max(ordinal, 1), date.max.toordinal())).isoformat()


def category(value: Any) -> str:
    """The name of a category: the text without blanks at its ends, whole numbers without decimals; "" if missing."""
    if is_missing(value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value).strip()
    if text.casefold() in ("true", "false"):
        return text.casefold()
    is_number = _NUMBER.fullmatch(text) and not _LEADING_ZERO.match(text)  # 007 is a name
    if is_number and float(text).is_integer() and abs(float(text)) < _EXACT:
        return str(int(float(text)))
    return text


def numbers(values: Sequence[Any]) -> np.ndarray:
    """`number` of many values: (N,) float64. What is not a number is NaN too."""
    found = plain(values)
    return _parsed(values, number) if found is None else found


def days(values: Sequence[Any]) -> np.ndarray:
    """As `day`, of many values: (N,) float64; those that are not dates are NaN too."""
    return _parsed(values, day)


def plain(values: Sequence[Any]) -> np.ndarray | None:
    """The values as numbers (N,) float64 if all are texts of finite ones, without blanks; else None. Much faster."""
    try:
        found = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    is_finite = bool((np.abs(found) <= LARGEST).all())  # false for NaN
    return found if is_finite and not any("_" in value for value in values) else None


def _parsed(values: Sequence[Any], parse: Any) -> np.ndarray:
    known: dict[Any, float] = {}  # most columns repeat their values
    for value in set(values):
        try:
            known[value] = parse(value)
        except ValueError:
            known[value] = math.nan
    return np.fromiter((known[value] for value in values), np.float64, len(values))
