import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from darkroom.evaluate import abstention
from darkroom.statistics.intervals import wilson

CONFIDENCE = np.array([0.6, 0.9, 0.8, 0.9, 0.5])  # ranked: 0.9 correct, 0.9 correct, 0.8 wrong, 0.6 correct, 0.5 wrong
CORRECT = np.array([True, True, False, True, False])


def test_curve_by_hand():
    assert abstention.curve(CONFIDENCE, CORRECT).to_dict("list") == {
        "coverage": pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]),
        "risk": pytest.approx([0, 0, 1 / 3, 1 / 4, 2 / 5]),
    }


def test_curve_of_many_examples_has_one_row_per_percent():
    many = abstention.curve(np.linspace(0, 1, 12_345), np.ones(12_345, bool))
    assert len(many) == 100
    assert many["coverage"].tolist() == pytest.approx(np.arange(1, 101) / 100, abs=1e-4)


def test_summary_by_hand():
    assert abstention.summary(CONFIDENCE, CORRECT, 0.8) == {
        "accuracy_at_coverage_90": pytest.approx(3 / 5),
        "accuracy_at_coverage_95": pytest.approx(3 / 5),
        "risk_coverage_area": pytest.approx((1 / 3 + 1 / 4 + 2 / 5) / 5),
        "abstention_threshold": 0.8,
        "abstention_coverage": 0.6,
        "abstention_coverage_low": wilson(3, 5)[0],
        "abstention_coverage_high": wilson(3, 5)[1],
        "abstention_accuracy": pytest.approx(2 / 3),
        "abstention_accuracy_low": wilson(2, 3)[0],
        "abstention_accuracy_high": wilson(2, 3)[1],
    }


def test_accuracy_at_90_and_95_percent_coverage():
    summary = abstention.summary(np.linspace(1, 0, 100), np.arange(100) < 93, None)
    assert summary["accuracy_at_coverage_90"] == 1
    assert summary["accuracy_at_coverage_95"] == pytest.approx(93 / 95)


def test_without_a_threshold_there_are_no_answers():
    summary = abstention.summary(CONFIDENCE, CORRECT, None)
    assert [summary[f"abstention_coverage{bound}"] for bound in ("", "_low", "_high")] == [0, 0, 0]
    assert [summary[f"abstention_accuracy{bound}"] for bound in ("", "_low", "_high")] == [None, None, None]


def test_a_threshold_that_is_never_reached_has_no_accuracy():
    summary = abstention.summary(CONFIDENCE, CORRECT, 0.95)
    assert (summary["abstention_threshold"], summary["abstention_accuracy"]) == (0.95, None)
    assert (
        summary["abstention_coverage"] == summary["abstention_coverage_low"] == 0 < summary["abstention_coverage_high"]
    )


def test_equal_confidences_count_in_any_order():
    """One of three equal examples is incorrect: on average 1/3, 2/3 and 1 of the first 1, 2 and 3."""
    summary = abstention.summary(np.full(3, 0.9), np.array([False, True, True]), None)
    assert summary["risk_coverage_area"] == pytest.approx(1 / 3)
    assert abstention.curve(np.full(3, 0.9), np.array([False, True, True]))["risk"].tolist() == pytest.approx(
        [1 / 3] * 3
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30), st.randoms())
def test_the_order_of_the_examples_does_not_matter(examples: list, random):
    shuffled = random.sample(examples, len(examples))
    found = [
        abstention.summary(np.array([level / 5 for level, _ in some]), np.array([right for _, right in some]), 0.4)
        for some in (examples, shuffled)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(("examples", "shown"), [(7, False), (202, False), (203, True)])
def test_all_correct_is_evidence_from_203_examples(examples: int, shown: bool):
    """0.98^203 is below 0.05 / 3, the part of the error probability of one of three starts."""
    found = abstention.threshold(np.linspace(0.5, 1, examples), np.ones(examples, bool), 0.98, 0.95)
    assert found == (0 if shown else None)  # 0: everything is answered


def test_a_target_of_1_can_never_be_shown():
    assert abstention.threshold(np.linspace(0.5, 1, 10_000), np.ones(10_000, bool), 1.0, 0.95) is None


def test_the_threshold_excludes_what_is_too_often_wrong():
    confidence = np.linspace(0, 1, 10_000)
    correct = (confidence > 0.4) | (np.arange(10_000) % 2 == 0)  # half of the 4,000 least confident are wrong
    found = abstention.threshold(confidence, correct, 0.95, 0.95)
    assert 0.3 < found < 0.4  # 0.333 if the risk were known
    assert correct[confidence >= found].mean() >= 0.95


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=300),
    st.sampled_from([0.5, 0.8, 0.95]),
    st.sampled_from([0.8, 0.95]),
)
def test_a_threshold_passes_the_exact_test_and_ignores_the_order(examples: list, target: float, certainty: float):
    confidence = np.array([level / 50 for level, _ in examples])
    correct = np.array([right for _, right in examples])
    found = abstention.threshold(confidence, correct, target, certainty)
    assert found == abstention.threshold(confidence[::-1], correct[::-1], target, certainty)
    if found is not None:
        answered = confidence >= found
        assert binom.cdf((~correct[answered]).sum(), answered.sum(), 1 - target) <= 1 - certainty


@pytest.mark.parametrize("examples", [300, 1000])
def test_the_target_is_rarely_missed(examples: int):
    """The risk at confidence c is (1 - c)^2, so from a threshold t on it is (1 - t)^2 / 3: 0.1 at 1 - sqrt(0.3)."""
    random, missed, shown = np.random.default_rng(0), 0, 0
    for _ in range(200):
        confidence = random.random(examples)
        correct = random.random(examples) >= (1 - confidence) ** 2
        found = abstention.threshold(confidence, correct, 0.9, 0.95)
        shown += found is not None
        missed += found is not None and found < 1 - 0.3**0.5
    assert missed <= 10  # 5 %
    assert shown > 100


def test_groups_that_fail_as_one_are_little_evidence():
    """Of 30 groups of 100 images, each right or wrong as a whole with probability 90 %, a target of 92 % is false."""
    random, groups, shown = np.random.default_rng(0), np.repeat([f"g{group}" for group in range(30)], 100), {}
    for name, some in (("groups", groups), ("none", None)):
        shown[name] = 0
        for _ in range(100):
            correct = np.repeat(random.random(30) < 0.9, 100)
            shown[name] += abstention.threshold(random.random(3000), correct, 0.92, 0.95, some) is not None
    assert shown["groups"] <= 5 < shown["none"]


def test_groups_of_one_are_no_groups():
    random = np.random.default_rng(0)
    confidence, correct = random.random(1000), random.random(1000) < 0.97
    singles = np.array([f"g{index}" for index in range(1000)])
    for groups in (singles, np.full(1000, "")):
        found = abstention.threshold(confidence, correct, 0.95, 0.95, groups)
        assert found == abstention.threshold(confidence, correct, 0.95, 0.95) is not None
        assert abstention.summary(confidence, correct, 0.5, groups) == abstention.summary(confidence, correct, 0.5)


def test_the_bounds_know_groups():
    groups = np.repeat([f"g{group}" for group in range(20)], 50)
    confidence, correct = np.linspace(0, 1, 1000), np.arange(1000) % 500 >= 100
    alone, together = (abstention.summary(confidence, correct, 0.5, some) for some in (None, groups))
    for key in ("abstention_coverage", "abstention_accuracy"):
        assert together[f"{key}_low"] < alone[f"{key}_low"] < alone[key] < alone[f"{key}_high"]


def test_the_line_says_what_was_shown():
    labels = np.zeros(400, np.int64)
    probabilities = np.column_stack([np.linspace(0.6, 1, 400), np.linspace(0.4, 0, 400)])
    fitted = abstention.fit(probabilities, labels, 0.98, 0.95)
    assert fitted == {"threshold": 0.0, "target_accuracy": 0.98, "target_confidence": 0.95, "validation_examples": 400}
    assert "threshold 0.0000: at least 98 %" in abstention.line(fitted)
    few = abstention.line(abstention.fit(probabilities[:7], labels[:7], 0.98, 0.95))
    assert few.startswith("no threshold could be shown: with 7 validation examples") and "at least 203" in few
    wrong = abstention.line(abstention.fit(probabilities, labels + 1, 0.98, 0.95))
    assert "with 400 validation examples" in wrong and "needed" not in wrong
