"""Corruptions of histories."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.core.arrays import TEXT, Split
from darkroom.robustness import history_corruptions
from darkroom.robustness.history_corruptions import CORRUPTIONS, SEVERITIES, STRENGTHS

NAMES = sorted(CORRUPTIONS)


def histories(seed: int, count: int = 6, length: int = 12) -> np.ndarray:
    random = np.random.default_rng(seed)
    found = random.integers(1, 40, (count, length)).astype(np.int32)
    held = random.integers(1, length + 1, count)
    return np.where(np.arange(length) < held[:, None], found, 0).astype(np.int32)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 1000), severity=st.sampled_from(SEVERITIES))
def test_rules_of_every_corruption(name: str, seed: int, severity: int):
    given_histories = histories(seed)
    found = history_corruptions.corrupt(given_histories, name, severity, seed)
    again = history_corruptions.corrupt(given_histories, name, severity, seed)
    np.testing.assert_array_equal(found, again)
    assert found.shape == given_histories.shape and found.dtype == np.int32
    held = (found != 0).sum(1)
    assert (held >= 1).all() and (found[np.arange(found.shape[1]) < held[:, None]] > 0).all()  # padding is at the end
    assert set(found[found > 0].tolist()) <= set(given_histories[given_histories > 0].tolist())


def test_the_last_events_are_known():
    found = history_corruptions.corrupt(np.array([[4, 5, 6, 0]], np.int32), "last_events", 4, 0)
    assert STRENGTHS["last_events"][3] == 2 and found.tolist() == [[5, 6, 0, 0]]


def test_an_order_has_the_same_events():
    given_histories = histories(3, length=40)
    found = history_corruptions.corrupt(given_histories, "shuffled_order", 5, 1)
    np.testing.assert_array_equal(np.sort(found, 1), np.sort(given_histories, 1))
    assert (found != given_histories).any()


def test_a_higher_severity_drops_more_of_the_same_events():
    row = np.arange(1, 31)
    draws = [CORRUPTIONS["dropped_events"](row, fraction, np.random.default_rng(0), row) for fraction in (0.2, 0.6)]
    assert set(draws[1].tolist()) < set(draws[0].tolist()) < set(row.tolist())


def test_foreign_events_push_out_the_oldest_ones():
    full = histories(5, length=20)
    full[full == 0] = 7
    found = history_corruptions.corrupt(full, "foreign_events", 5, 0)
    assert (found != 0).all() and (found != full).any(1).all()


def test_histories_of_a_split_are_copied():
    inputs = histories(0)
    split = Split(inputs, np.zeros(6, np.int64), np.array(list("abcdef"), dtype=TEXT))
    loaded = history_corruptions.load(split)
    loaded[:] = 1
    assert (inputs != 1).any()
