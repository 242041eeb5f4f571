"""Cutting events into training, validation and test examples: no event of the future in training."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from darkroom.core.errors import DarkroomError
from darkroom.datasets.events import DTYPE
from darkroom.preprocess import event_splits
from darkroom.preprocess.event_splits import Windows

EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 30)), min_size=1, max_size=60)
LENGTH = st.integers(2, 6)


def table(found: list[tuple[int, int, int]]) -> np.ndarray:
    rows = np.array(found, DTYPE)
    return rows[event_splits.in_order(rows)]


def examples(windows: Windows, split: str) -> list[tuple[int, int]]:
    """Start and label of the examples of a split."""
    chosen = windows.split == split
    return list(zip(windows.start[chosen].tolist(), windows.label[chosen].tolist(), strict=True))


def predicted(windows: Windows) -> list[int]:
    """The events that training predicts, at every position."""
    return sorted(event for start, label in examples(windows, "train") for event in range(start + 1, label + 1))


def first_of(users: np.ndarray) -> set[int]:
    return {int(np.flatnonzero(users == user)[0]) for user in np.unique(users)}


def require_sound(windows: Windows, users: np.ndarray, length: int) -> None:
    assert (windows.start < windows.label).all() and (windows.label - windows.start <= length).all()
    assert (users[windows.start] == users[windows.label]).all() and (users[windows.label] == windows.user).all()
    trained = set(np.flatnonzero(windows.trained).tolist())
    assert predicted(windows) == sorted(trained - first_of(users))  # each exactly once


@given(EVENTS, LENGTH)
def test_leave_one_out_trains_on_nothing_behind_the_events_that_it_tests(found: list, length: int):
    events = table(found)
    users = events["user"].astype(np.int64)
    windows = event_splits.leave_one_out(users, length)
    require_sound(windows, users, length)
    tested, validated = dict(examples(windows, "test")), dict(examples(windows, "val"))
    for user in np.unique(users).tolist():
        own = np.flatnonzero(users == user).tolist()
        labels = [label for label in (*validated.values(), *tested.values()) if label in own]
        assert labels == own[-2:] if len(own) > 2 else labels == own[1:]
        known = [event for event in own if windows.trained[event]]
        assert known == own[: len(own) - max(1, len(labels))]
        assert all(events["time"][event] <= events["time"][label] for event in known for label in labels)
    assert all(label - start == min(length, label - first) for start, label in tested.items() for first in
               [max(one for one in first_of(users) if one <= label)])  # fmt: skip


@given(EVENTS, LENGTH, st.integers(0, 30), st.integers(0, 30))
def test_a_cut_in_time_trains_on_nothing_from_the_cut_on(found: list, length: int, val: int, test: int):
    assume(val < test)
    events = table(found)
    users, times = events["user"].astype(np.int64), events["time"]
    windows = event_splits.cut_in_time(users, times, length, val, test)
    require_sound(windows, users, length)
    assert np.array_equal(windows.trained, times < val)
    for split, low, high in (("val", val, test), ("test", test, np.inf)):
        found_examples = examples(windows, split)
        assert len({users[label].item() for _, label in found_examples}) == len(found_examples)
        for start, label in found_examples:
            assert low <= times[label] < high and (times[start:label] < low).all()
            assert times[label - 1] < low  # the first event of the user from there on
    reachable = [
        user
        for user in np.unique(users)
        if (times[users == user] < test).any() and (times[users == user] >= test).any()
    ]
    assert len(examples(windows, "test")) == len(reachable)


@given(EVENTS, st.integers(1, 4), st.integers(1, 4))
def test_the_core_is_the_largest_part_without_rare_users_and_items(found: list, users: int, items: int):
    events = np.array(found, DTYPE)
    kept = event_splits.core(events["user"], events["item"], users, items)
    left = events[kept]
    assert all(np.unique(left["user"], return_counts=True)[1] >= users)
    assert all(np.unique(left["item"], return_counts=True)[1] >= items)
    again = list(found)
    while True:  # one rare user or item at a time: the core does not depend on the order
        rare = [
            (place, value)
            for place, least in ((0, users), (1, items))
            for value in {row[place] for row in again}
            if sum(row[place] == value for row in again) < least
        ]
        if not rare:
            break
        again = [row for row in again if row[rare[0][0]] != rare[0][1]]
    assert len(again) == len(left)


@given(EVENTS)
def test_events_are_sorted_without_copies(found: list):
    rows = np.array(found, DTYPE)
    order = event_splits.in_order(rows)
    events = rows[order]
    assert len(events) == len(set(found))
    keys = list(zip(events["user"].tolist(), events["time"].tolist(), order.tolist(), strict=True))
    assert keys == sorted(keys)


def test_the_latest_example_is_full():
    windows = event_splits.leave_one_out(np.zeros(9, np.int64), 3)
    assert examples(windows, "train") == [(3, 6), (0, 3)]
    assert examples(windows, "val") == [(4, 7)] and examples(windows, "test") == [(5, 8)]


def test_fractions_choose_the_cuts():
    assert event_splits.cuts(np.arange(10.0), 0.25, 0.2) == (6.0, 8.0)
    assert event_splits.cuts(np.array([1.0, 1, 2, 2, 3, 3]), 0.1, 0.1) == (2.0, 3.0)


def test_events_of_one_time_cannot_be_cut():
    with pytest.raises(DarkroomError, match=r"set preprocess\.history\.split to last"):
        event_splits.cuts(np.array([5.0, 5, 5]), 0.1, 0.2)
