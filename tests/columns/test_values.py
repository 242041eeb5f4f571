import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.columns import values


@pytest.mark.parametrize(
    "given", [None, "", "  ", "NA", "n/a", "NaN", "null", "None", "?", "-", math.nan, math.inf, "-inf"]
)
def test_what_stands_for_no_value(given: object):
    assert values.is_missing(given)
    assert math.isnan(values.number(given)) and math.isnan(values.day(given)) and values.category(given) == ""


@pytest.mark.parametrize(
    ("given", "expected"), [("3", 3), (" -2.5e3 ", -2500), (7, 7), (True, 1), (".5", 0.5), ("1.", 1), ("007", 7)]
)
def test_numbers(given: object, expected: float):
    assert values.number(given) == expected


@pytest.mark.parametrize("given", [10**400, "1e39", -1e300])
def test_numbers_that_float32_cannot_hold_are_missing(given: object):
    assert math.isnan(values.number(given))


@pytest.mark.parametrize("given", ["abc", "1,5", "1_000", "0x10", [1], {}, "1 2", "²"])
def test_what_is_no_number(given: object):
    with pytest.raises(ValueError, match="must be a number"):
        values.number(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("1970-01-02", 1),
        ("1970/01/02", 1),
        ("2.1.1970", 1),
        ("1970-01-01T12:00:00", 0.5),
        ("1970-01-01T12:00:00Z", 0.5),
        ("1970-01-01T12:00:00+02:00", 10 / 24),
        ("1969-12-31", -1),
    ],
)
def test_days_since_1970(given: str, expected: float):
    assert values.day(given) == pytest.approx(expected)


@pytest.mark.parametrize("given", ["20240131", "2024-13-01", "31.02.2024", "today", 5, "12:30"])
def test_what_is_no_date(given: object):
    with pytest.raises(ValueError, match="must be a date"):
        values.day(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(2, "2"), ("2.0", "2"), (2.0, "2"), ("-0", "0"), ("007", "007"), (" a ", "a"), (True, "true"), ("TRUE", "true")],
)
def test_categories_that_are_written_in_several_ways(given: object, expected: str):
    assert values.category(given) == expected


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_the_name_of_a_category_is_its_own_name(given: object):
    name = values.category(given)
    assert values.category(name) == name


def test_columns_of_texts_are_parsed_at_once_and_what_does_not_fit_is_missing():
    np.testing.assert_array_equal(values.numbers(["1", "x", "", "2.5"]), [1, np.nan, np.nan, 2.5])
    np.testing.assert_array_equal(values.days(["1970-01-02", "x", "?"]), [1, np.nan, np.nan])


def test_a_day_is_written_as_a_date():
    assert values.written_day(values.day("2024-02-29")) == "2024-02-29" and values.written_day(-0.5) == "1969-12-31"


@pytest.mark.parametrize("text", ["9999-12-31 23:59:59", "0001-01-01T00:00:00+02:00"])
def test_the_last_and_the_first_day_are_written_also_if_float32_has_rounded_them(text: str):
    assert values.written_day(float(np.float32(values.day(text)))) == text[:10]
