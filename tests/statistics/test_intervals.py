import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from darkroom.core.arrays import TEXT
from darkroom.statistics import intervals
from darkroom.statistics.intervals import clopper_pearson, fraction_interval, mean_interval, wilson


@settings(max_examples=50)
@given(st.integers(1, 10_000), st.integers(0, 10_000))
@pytest.mark.parametrize(("ours", "method"), [(wilson, "wilson"), (clopper_pearson, "exact")])
def test_intervals_of_fractions_are_those_of_scipy(ours, method: str, total: int, successes: int):
    successes = min(successes, total)
    expected = binomtest(successes, total).proportion_ci(confidence_level=0.95, method=method)
    found = ours(successes, total)
    assert found == pytest.approx(np.array([expected.low, expected.high]), abs=1e-9)
    assert (found[0] == 0 or successes > 0) and (found[1] == 1 or successes < total)
    assert ours(np.array([successes, 0]), np.array([total, 0])).tolist() == [[found[0], 0], [found[1], 1]]


def test_confidence_of_clopper_pearson():
    expected = binomtest(3, 10).proportion_ci(confidence_level=0.9, method="exact")
    assert clopper_pearson(3, 10, confidence=0.9) == pytest.approx([expected.low, expected.high])


def test_a_fraction_of_independent_examples_has_wilsons_interval():
    correct = np.arange(50) % 5 > 0
    alone = np.array(["a", "b", *[""] * 48], dtype=TEXT)
    for groups in (None, np.full(50, "", dtype=TEXT), alone):
        assert fraction_interval(correct, groups).tolist() == wilson(40, 50).tolist()
    assert fraction_interval(np.array([], bool)).tolist() == [0, 1]


def test_a_fraction_of_one_group_is_unknown():
    assert fraction_interval(np.arange(50) % 5 > 0, np.full(50, "a")) == pytest.approx([0, 1], abs=1e-6)


def test_a_mean_of_one_unit_is_unknown_and_equal_values_are_certain():
    assert mean_interval(np.ones(1)).tolist() == [-math.inf, math.inf]
    assert mean_interval(np.arange(9), np.full(9, "a")).tolist() == [-math.inf, math.inf]
    assert mean_interval(np.full(9, 0.25)).tolist() == [0.25, 0.25]


def test_a_mean_of_many_values_has_the_normal_interval():
    values = np.random.default_rng(0).normal(size=3000)
    half = 1.96 * values.std() / math.sqrt(3000)
    assert mean_interval(values) == pytest.approx(values.mean() + np.array([-half, half]), abs=0.1 * half)


def test_a_mean_of_skewed_values_reaches_further_into_the_tail():
    values = np.random.default_rng(0).exponential(size=40)
    low, high = mean_interval(values)
    assert high - values.mean() > 1.5 * (values.mean() - low)


def test_copies_of_an_example_in_its_group_tell_nothing_new():
    values = np.random.default_rng(0).normal(size=60)
    groups = np.arange(60).astype(str)
    expected = mean_interval(values)
    assert mean_interval(np.repeat(values, 5), np.repeat(groups, 5)) == pytest.approx(expected, rel=0.2)
    found = fraction_interval(np.repeat(values > 0, 5), np.repeat(groups, 5))
    assert found == pytest.approx(wilson((values > 0).sum(), 60), abs=0.02)


def test_values_without_a_group_are_units():
    values = np.random.default_rng(0).normal(size=60)
    assert mean_interval(values, np.full(60, "", dtype=TEXT)).tolist() == mean_interval(values).tolist()


def test_more_values_than_are_drawn_are_merged(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(0).exponential(size=3001)
    expected = mean_interval(values)
    monkeypatch.setattr(intervals, "MOST_UNITS", 100)
    assert mean_interval(values) == pytest.approx(expected, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.integers(1, 5))
def test_intervals_contain_what_was_measured(values: list[float], size: int):
    groups = (np.arange(len(values)) // size).astype(str)
    found = np.array(values)
    low, high = mean_interval(found, groups)
    assert low <= found.mean() + 1e-6 and found.mean() - 1e-6 <= high
    low, high = fraction_interval(found > 0, groups)
    assert 0 <= low <= (found > 0).mean() <= high <= 1
