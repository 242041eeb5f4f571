import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, ttest_ind_from_stats
from sklearn.metrics import f1_score

from darkroom.review import significance


def correctness(fixed: int, broken: int, both: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Which examples the old and the new model predicted correctly."""
    old = np.repeat([False, True, True, False], [fixed, broken, both, neither])
    return old, np.repeat([True, False, True, False], [fixed, broken, both, neither])


def test_accuracy_by_hand():
    """Ten fixed, two broken: p is twice the binomial's tail, 158 / 4096; the interval by Bonett and Price's formula."""
    found = significance.accuracy(*correctness(10, 2, 80, 8))
    assert found.value == pytest.approx(0.08)
    assert found.p == pytest.approx(2 * binom.cdf(2, 12, 0.5)) == pytest.approx(158 / 4096)
    half = 1.959964 * math.sqrt((11 / 102 + 3 / 102 - (8 / 102) ** 2) / 102)
    assert (found.low, found.high) == pytest.approx((8 / 102 - half, 8 / 102 + half), abs=1e-6)
    assert not found.significant
    assert significance.accuracy(*correctness(20, 2, 80, 8)).significant


def test_equal_predictions_are_no_difference():
    found = significance.accuracy(*correctness(0, 0, 90, 10))
    assert (found.value, found.p, found.significant) == (0, 1, False)
    assert found.low < 0 < found.high


@given(*(st.integers(0, 40) for _ in range(3)), st.integers(1, 40))
def test_swapping_the_sides_negates_the_difference(fixed: int, broken: int, both: int, neither: int):
    one, other = (
        significance.accuracy(*pair)
        for pair in (correctness(fixed, broken, both, neither), correctness(broken, fixed, both, neither))
    )
    assert (one.value, one.low, one.high, one.p) == pytest.approx((-other.value, -other.high, -other.low, other.p))
    assert -1 <= one.low <= one.value <= one.high <= 1


def test_equal_models_are_rarely_called_different_and_one_point_is_found():
    """Pairs as similar as two trainings of one recipe: exactly one is correct on 2.4 % of 10,000 examples."""
    random = np.random.default_rng(0)

    def called(gain: float) -> float:
        fractions = [0.012 + gain, 0.012, 0.927 - gain, 0.049]
        return float(
            np.mean(
                [
                    significance.accuracy(*correctness(*random.multinomial(10_000, fractions))).significant
                    for _ in range(1000)
                ]
            )
        )

    assert called(0.0) <= 0.02
    assert called(0.01) >= 0.95


def test_a_mean_by_hand():
    found = significance.mean(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 4.0, 4.0]))  # changes 1, 0, 1, 0
    error = math.sqrt(1 / 3) / 2
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.5, 0.5 - 1.959964 * error, 0.5 + 1.959964 * error), abs=1e-6
    )
    assert found.p == pytest.approx(2 * (1 - 0.5 * (1 + math.erf(0.5 / error / math.sqrt(2)))))
    same = significance.mean(np.ones(3), np.ones(3))
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_macro_f1_is_that_of_scikit_learn_and_its_interval_that_of_resampled_examples():
    random = np.random.default_rng(0)
    labels = random.integers(3, size=400)
    old, new = (
        np.where(random.random(400) < fraction, labels, random.integers(4, size=400)) for fraction in (0.6, 0.8)
    )

    def difference(chosen: np.ndarray) -> float:
        scores = [
            f1_score(labels[chosen], one[chosen], labels=np.arange(4), average="macro", zero_division=0)
            for one in (old, new)
        ]
        return scores[1] - scores[0]

    found = significance.macro_f1(labels, old, new, 4)
    assert found.value == pytest.approx(difference(np.arange(400)))
    resampled = [difference(random.integers(400, size=400)) for _ in range(500)]
    assert (found.low, found.high) == pytest.approx(np.percentile(resampled, [2.5, 97.5]), abs=0.01)
    assert found.p == pytest.approx(2 / 2001)
    assert significance.macro_f1(labels, old, old, 4).p == 1


@settings(max_examples=25)
@given(
    st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 0.1), st.floats(0.001, 0.1), st.integers(2, 9), st.integers(2, 9)
)
def test_seeds_are_compared_by_welchs_test(old: float, new: float, one: float, other: float, few: int, many: int):
    found = significance.seeds((old, one, few), (new, other, many))
    expected = ttest_ind_from_stats(new, other, many, old, one, few, equal_var=False)
    assert found.p == pytest.approx(float(expected.pvalue), rel=1e-6, abs=1e-12)
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05) or math.isclose(found.p, 0.05, abs_tol=1e-6)


def test_seeds_without_deviation():
    assert significance.seeds((0.9, 0.0, 3), (0.9, 0.0, 3)).p == 1
    assert significance.seeds((0.9, 0.0, 3), (0.91, 0.0, 3)).significant


def test_holm_by_hand():
    assert significance.holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm(np.array([0.6, 0.7])).tolist() == [1, 1]
