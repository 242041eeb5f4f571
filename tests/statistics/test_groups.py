import numpy as np
import pytest
from scipy.stats import t

from darkroom.core.arrays import TEXT
from darkroom.statistics.groups import INDEPENDENT, PRIOR, design_effect, unit_sums


def test_units_are_groups_and_examples_without_one():
    groups = np.array(["b", "", "a", "b", ""], dtype=TEXT)
    assert unit_sums(np.array([1, 2, 4, 8, 16]), groups).tolist() == [4, 9, 2, 16]
    assert unit_sums(np.array([1, 2]), None).tolist() == [1, 2]


def test_independent_examples_have_no_effect():
    correct = np.array([True, False, True])
    influence = correct - correct.mean()
    assert design_effect(influence, correct, None) == INDEPENDENT
    assert design_effect(influence, correct, np.array(["a", "", "c"], dtype=TEXT)) == INDEPENDENT


def test_groups_that_are_alike_within_count_as_one_example_each():
    correct = np.repeat(np.arange(100) % 2 > 0, 10)
    found = design_effect(correct - correct.mean(), correct, np.repeat(np.arange(100), 10).astype(str))
    correlation = (50 * 1 + PRIOR) / 51
    assert found.effect == pytest.approx(1 + 9 * correlation)
    assert found.quantile == pytest.approx(t.ppf(0.975, 99))


def test_without_errors_the_correlation_is_the_prior():
    found = design_effect(np.zeros(40), np.ones(40, bool), np.repeat(np.arange(10), 4).astype(str))
    assert found.effect == pytest.approx(1 + 3 * PRIOR)


def test_groups_of_different_sizes_count_by_their_examples():
    groups = np.repeat(np.arange(3), [8, 1, 1]).astype(str)
    found = design_effect(np.zeros(10), np.ones(10, bool), groups)
    size = (64 + 1 + 1) / 10
    assert found.effect == pytest.approx(1 + (size - 1) * PRIOR)
    assert found.quantile == pytest.approx(t.ppf(0.975, 10 / size - 1))
