"""Times of events, in every form in which files have them."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.datasets.times import Times

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC).timestamp()


def seconds(*cells: str) -> list[float]:
    times = Times()
    times.see(cells)
    return times.seconds().tolist()


@pytest.mark.parametrize(
    "cell",
    [
        f"{NOON:.0f}",
        f"{NOON:.1f}",
        f"{1000 * NOON:.0f}",
        f"{1e6 * NOON:.0f}",
        f"{1e9 * NOON:.0f}",
        "2024-01-31T12:00:00Z",
        "2024-01-31 12:00",
        "2024-01-31T14:00:00+02:00",
        "20240131T120000",
        "2024/1/31 12:00:00",
        "31.01.2024 12:00",
        "31/01/2024 12:00",
        "1/31/2024 12:00:00",
        "Wed, 31 Jan 2024 12:00:00 GMT",
        "31 Jan 2024 13:00:00 +0100 (CET)",
        "Jan 31, 2024 07:00:00 EST",
        " 2024-01-31 12:00 ",
        "2024-01-31 12:00:00 UTC",
        "2024-01-31T14:00:00.000+02",
        "20240131120000",
        "Wed Jan 31 12:00:00 UTC 2024",
        "Wed Jan 31 12:00:00 2024",
        "1/31/2024 12:00 PM",
        "31/01/2024 12:00:00 p.m.",
        "2024-01-31 12:00 pm",
        "Jan 31, 2024, 12:00:00\u202fPM",
        "31 Jan 2024 02:00 P. M. +0200",
    ],
)
def test_a_time_has_its_seconds_in_every_form(cell: str):
    assert seconds(cell) == pytest.approx([NOON], abs=1e-3)


@pytest.mark.parametrize(
    "cell",
    [
        "Jan 31, 2024, 13:05:12 PM",
        "31 Jan 2024 09:05 in the evening",
        "31 Jan 2024 12:00:00 +01:00",
        "Jan 31 2024 12:00 UTC+1",
        "Wed Jan 31 12:00:00 CET 2024",
        "Wed, 31 Jan 2024 12:00:00 (CET)",
        "2024-01-31 12:00 CET",
        "Wed Jan 31 2024 12:00:00 GMT+0100 (CET)",
        "Jan 31, 2024 09:05:00 CET",
    ],
)
def test_a_time_that_would_be_read_in_part_is_not_read(cell: str):
    assert np.isnan(seconds(cell)).all()


@pytest.mark.parametrize(("half", "hour"), [("12:05 AM", 0), ("1:05 am", 1), ("12:05 p.m.", 12), ("11:05 PM", 23)])
def test_halves_of_a_day(half: str, hour: int):
    assert seconds(f"01/31/2024 {half}") == [NOON + (hour - 12) * 3600 + 300]


def test_three_forms_in_one_column_are_read_one_by_one():
    assert seconds(f"{NOON:.0f}", "2024-01-31T12:00:00Z", f"{1000 * NOON:.0f}") == pytest.approx([NOON] * 3)


def test_numbers_that_are_all_dates_are_dates():
    assert seconds("20240131", "20240201") == [NOON - 12 * 3600, NOON + 12 * 3600]
    assert seconds("20240131", "20241399") == [20240131, 20241399]
    assert seconds("-2e11") == [-2e8]
    assert seconds("20240131", "2024-01-31", "1706659200") == [NOON - 12 * 3600] * 3


def test_numbers_that_are_all_dates_with_times_are_dates():
    assert seconds("20240131120000", "20240131000001") == [NOON, NOON - 12 * 3600 + 1]
    assert seconds("20240131120000", "20240131") == [20240131120, 20240131]
    assert seconds("20240131120000", "20240131", "2024-01-31 12:00") == [NOON, NOON - 12 * 3600, NOON]


MIXED = [
    "20240131120000",
    "20240131",
    "20241399",
    f"{NOON:.0f}",
    f"{1000 * NOON:.0f}",
    "9e15",
    "-9e10",
    "1",
    "2024-01-31",
    "31/05/2024",
]


@given(st.lists(st.lists(st.sampled_from(MIXED), min_size=1, max_size=4), min_size=1, max_size=6))
def test_blocks_change_no_time(blocks: list[list[str]]):
    times = Times()
    for cells in blocks:
        times.see(cells)
    np.testing.assert_array_equal(times.seconds(), seconds(*(cell for cells in blocks for cell in cells)))


def test_blocks_of_numbers_beside_dates_are_scaled():
    times = Times()
    for cells in (["2024-01-31"], ["20240131", f"{1000 * NOON:.0f}"], ["-9e10"]):
        times.see(cells)
    found = times.seconds()
    assert found[:3].tolist() == [NOON - 12 * 3600, NOON - 12 * 3600, NOON] and np.isnan(found[3])


@pytest.mark.parametrize(("other", "month"), [("31/05/2024", 4), ("04/30/2024", 3)])
def test_another_row_says_whether_the_day_comes_first(other: str, month: int):
    times = Times()
    for cell in ("03/04/2024", other):
        times.see([cell])
    assert datetime.fromtimestamp(times.seconds()[0], UTC).month == month


def test_dates_that_may_mean_two_days_are_an_error():
    with pytest.raises(ValueError, match="day/month or month/day"):
        seconds("03/04/2024", "05/06/2024")
    assert seconds("03/03/2024") == [datetime(2024, 3, 3, tzinfo=UTC).timestamp()]


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "yesterday",
        "99999999999 Jan 2024 12:00",
        "0001-01-01T00:00+02:00",
        "2024-13-31",
        "32.01.2024",
        "nan",
        "inf",
        "12:00",
        "1e30",
        "-9e10",
    ],
)
def test_what_is_no_time_is_missing(cell: str):
    assert np.isnan(seconds(cell, "2024-01-31")[0])
    assert np.isnan(seconds(cell)[0])


@given(st.lists(st.integers(10**8, 4 * 10**9), min_size=1, max_size=20))
def test_seconds_and_milliseconds_have_the_same_order(stamps: list[int]):
    plain, milli = seconds(*map(str, stamps)), seconds(*(str(1000 * one) for one in stamps))
    assert plain == stamps
    assert milli == pytest.approx(stamps)
