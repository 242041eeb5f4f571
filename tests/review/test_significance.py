import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, t, ttest_1samp, ttest_ind_from_stats
from sklearn.metrics import f1_score

from darkroom.review import significance
from darkroom.review.significance import PRIOR_FREEDOM, Seeds

SINGLE = (None, None)


def correctness(fixed: int, broken: int, both: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Which examples the old and the new model predicted correctly."""
    old = np.repeat([False, True, True, False], [fixed, broken, both, neither])
    return old, np.repeat([True, False, True, False], [fixed, broken, both, neither])


def trainings(random: np.random.Generator, examples: int, shifts: np.ndarray) -> np.ndarray:
    """Correct predictions (T, examples) of trainings whose accuracies are 90 % plus each shift (T,) on average."""
    easy = np.arange(examples) < 0.85 * examples
    fraction = (0.9 + shifts - 0.85) / 0.15
    return easy | (random.random((len(shifts), examples)) < fraction[:, None])


def test_accuracy_by_hand():
    """Ten fixed, two broken: p is twice the binomial's tail, 158 / 4096; the interval by Bonett and Price's formula."""
    found = significance.accuracy(*correctness(10, 2, 80, 8))
    assert found.value == pytest.approx(0.08)
    assert found.p == pytest.approx(2 * binom.cdf(2, 12, 0.5)) == pytest.approx(158 / 4096)
    half = 1.959964 * math.sqrt((11 / 102 + 3 / 102 - (8 / 102) ** 2) / 102)
    assert (found.low, found.high) == pytest.approx((8 / 102 - half, 8 / 102 + half), abs=1e-6)
    assert found.verdict == "better"
    assert significance.accuracy(*correctness(2, 10, 80, 8)).verdict == "worse"
    assert significance.accuracy(*correctness(9, 2, 80, 8)).verdict == "within noise"


def test_equal_predictions_are_no_difference():
    found = significance.accuracy(*correctness(0, 0, 90, 10))
    assert (found.value, found.p, found.significant) == (0, 1, False)
    assert found.low < 0 < found.high


@given(*(st.integers(0, 40) for _ in range(3)), st.integers(1, 40))
def test_swapping_the_sides_negates_the_difference(fixed: int, broken: int, both: int, neither: int):
    pairs = correctness(fixed, broken, both, neither), correctness(broken, fixed, both, neither)
    for test in (significance.accuracy, lambda *pair: significance.recipe(*pair, 0.01)):
        one, other = (test(*pair) for pair in pairs)
        assert (one.value, one.low, one.high, one.p) == pytest.approx((-other.value, -other.high, -other.low, other.p))
        assert one.low <= one.value <= one.high


def test_whole_groups_change_their_signs():
    """Four groups gain two examples each: of the 16 choices of signs two are as extreme."""
    old, new = correctness(8, 0, 8, 0)
    groups = np.tile(["a", "b", "c", "d"], 4)
    assert significance.accuracy(old, new, groups).p == pytest.approx(2 / 16)
    single = np.arange(16).astype(str)
    assert significance.accuracy(old, new, single) == significance.accuracy(old, new)
    assert significance.accuracy(old, new, np.full(16, "")) == significance.accuracy(old, new)
    alone = significance.accuracy(old, new, np.full(16, "one"))
    assert (alone.p, alone.low, alone.high) == (1, -1, 1)


@pytest.mark.parametrize("count", [12, 40])
def test_equal_models_differ_by_groups_in_the_stated_fraction_of_cases(count: int):
    """Whole groups of 20 examples are gained or lost, which McNemar's test alone takes for evidence."""
    random, called = np.random.default_rng(0), {True: 0, False: 0}
    groups = np.repeat(np.arange(count), 20).astype(str)
    for _ in range(200):
        difficulty = random.normal(0, 1.5, (2, count)).repeat(20, axis=1)
        old, new = random.random(difficulty.shape) < 1 / (1 + np.exp(-1 - difficulty))
        for clustered in called:
            called[clustered] += significance.accuracy(old, new, groups if clustered else None).significant
    assert called[True] <= 0.08 * 200 < 0.2 * 200 < called[False]


def test_a_mean_by_hand():
    old, new = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 4.0, 4.0])
    found, expected = significance.mean(old, new), ttest_1samp(new - old, 0)
    assert (found.value, found.p) == pytest.approx((0.5, expected.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    same = significance.mean(np.ones(3), np.ones(3))
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_equal_groups_count_as_one_example_each():
    random = np.random.default_rng(0)
    old, new = random.random((2, 8))
    one = significance.mean(old, new)
    repeated = significance.mean(old.repeat(5), new.repeat(5), np.arange(8).repeat(5).astype(str))
    assert (repeated.low, repeated.high, repeated.p) == pytest.approx((one.low, one.high, one.p))


def test_macro_f1_is_that_of_scikit_learn_and_its_interval_that_of_resampled_examples():
    random = np.random.default_rng(0)
    labels = random.integers(3, size=400)
    old, new = (
        np.where(random.random(400) < fraction, labels, random.integers(4, size=400)) for fraction in (0.6, 0.8)
    )

    def difference(chosen: np.ndarray) -> float:
        scores = [
            f1_score(labels[chosen], one[chosen], labels=np.arange(3), average="macro", zero_division=0)
            for one in (old, new)
        ]
        return scores[1] - scores[0]

    found = significance.macro_f1(labels, old, new)
    assert found.value == pytest.approx(difference(np.arange(400)))
    strata = [np.flatnonzero(labels == name) for name in range(3)]
    resampled = [difference(np.concatenate([random.choice(rows, len(rows)) for rows in strata])) for _ in range(500)]
    assert (found.low, found.high) == pytest.approx(np.percentile(resampled, [2.5, 97.5]), abs=0.01)
    assert found.significant
    assert significance.macro_f1(labels, old, old).p == 1


def test_macro_f1_of_thousands_of_classes_with_one_example_each():
    labels = np.arange(4000)
    new = np.where(labels < 200, labels + 1, labels)
    found = significance.macro_f1(labels, labels, new)
    assert found.verdict == "worse" and -1 < found.low < found.value < found.high < 0


def test_a_recipe_without_seeds_has_the_noise_of_the_prior():
    """Student's test with the sampling variance of the pair and twice the prior's."""
    pair = correctness(30, 10, 900, 60)
    found = significance.recipe(*pair, 0.01)
    sampling = (31 / 1002 + 11 / 1002 - (20 / 1002) ** 2) / 1002
    error = math.sqrt(sampling + 2 * 0.01**2)
    assert (found.value, found.std, found.freedom) == pytest.approx((0.02, error / math.sqrt(2), PRIOR_FREEDOM))
    half = t.ppf(0.975, PRIOR_FREEDOM) * error
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half))
    assert found.p == pytest.approx(2 * t.sf(0.02 / error, PRIOR_FREEDOM))
    assert found.detectable == pytest.approx(half + t.ppf(0.8, PRIOR_FREEDOM) * error)
    assert significance.accuracy(*pair).significant and not found.significant


def test_seeds_of_one_side_are_pooled_with_the_prior_and_their_mean_is_compared():
    pair = correctness(30, 10, 900, 60)
    found = significance.recipe(*pair, 0.01, seeds=(Seeds(0.9, 0.02, 5), None))
    prior = significance.recipe(*pair, 0.01).std ** 2
    variance = (PRIOR_FREEDOM * prior + 4 * 0.02**2) / (PRIOR_FREEDOM + 4)
    assert (found.value, found.std) == pytest.approx((0.03, math.sqrt(variance)))
    assert found.p == pytest.approx(2 * t.sf(0.03 / math.sqrt(variance * (1 + 1 / 5)), PRIOR_FREEDOM + 4))
    earlier = significance.recipe(*pair, 0.01, earlier=Seeds(math.nan, 0.02, 5))
    assert (earlier.value, earlier.std, earlier.freedom) == pytest.approx((0.02, found.std, found.freedom))


@settings(max_examples=25)
@given(
    st.floats(0, 1), st.floats(0, 1), st.floats(0.02, 0.1), st.floats(0.02, 0.1), st.integers(3, 9), st.integers(3, 9)
)
def test_enough_seeds_are_compared_by_welchs_test(
    old: float, new: float, one: float, other: float, few: int, many: int
):
    pair = correctness(30, 10, 900, 60)
    found = significance.recipe(*pair, 0.01, seeds=(Seeds(old, one, few), Seeds(new, other, many)))
    expected = ttest_ind_from_stats(new, other, many, old, one, few, equal_var=False)
    assert found.p == pytest.approx(float(expected.pvalue), rel=1e-6, abs=1e-12)
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05) or math.isclose(found.p, 0.05, abs_tol=1e-6)


def test_seeds_without_deviation_still_have_the_noise_of_the_examples():
    equal = Seeds(0.9, 0.0, 3), Seeds(0.92, 0.0, 3)
    found = significance.recipe(*correctness(1, 0, 45, 4), 0.01, seeds=equal)
    assert found.std > 0 and not found.significant
    assert significance.recipe(*correctness(300, 100, 8900, 700), 0.01, seeds=equal).significant


def test_recipes_that_differ_in_nothing_are_rarely_called_different():
    """The accuracy of each training varies by 0.3 points; McNemar's test tells such models apart."""
    random, called, models = np.random.default_rng(0), [], []
    for _ in range(200):
        old, new = trainings(random, 10_000, random.normal(0, 0.003, 2))
        called.append(significance.recipe(old, new, 0.003).significant)
        models.append(significance.accuracy(old, new).significant)
    assert np.mean(called) <= 0.05 < 0.12 < np.mean(models)


def test_recipes_that_differ_by_0_6_points_are_found_with_five_seeds_each():
    random, found = np.random.default_rng(0), []
    for _ in range(100):
        old, new = (trainings(random, 10_000, random.normal(shift, 0.0015, 5)) for shift in (0, 0.006))
        accuracies = (side.mean(1) for side in (old, new))
        seeds = tuple(Seeds(float(side.mean()), float(side.std(ddof=1)), 5) for side in accuracies)
        found.append(significance.recipe(old[0], new[0], 0.002, seeds=seeds).verdict)
    assert found.count("better") >= 90


def test_one_training_for_both_sides_has_no_noise_of_a_retraining():
    pair = correctness(30, 10, 900, 60)
    found, model = significance.same_weights(*pair), significance.accuracy(*pair)
    assert (found.p, found.low, found.high, found.std, found.freedom) == (model.p, model.low, model.high, 0, None)


@pytest.mark.parametrize(
    ("labels", "old", "new"),
    [
        ([0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]),
        ([0] + [1] * 50 + [2] * 50, [1] + [1] * 49 + [2] * 51, [0] + [1] * 49 + [2] * 51),
    ],
)
def test_few_changed_predictions_prove_little(labels: list[int], old: list[int], new: list[int]):
    changed = sum(before != after for before, after in zip(old, new, strict=True))
    found = significance.macro_f1(*map(np.array, (labels, old, new)))
    assert found.p >= 2.0 ** (1 - changed) and found.low < found.value < found.high


def test_one_example_proves_nothing():
    assert significance.mean(np.array([1.0]), np.array([0.5])).p == 1
