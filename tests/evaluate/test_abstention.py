import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.evaluate import abstention

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
        "abstention_accuracy": pytest.approx(2 / 3),
    }


def test_accuracy_at_90_and_95_percent_coverage():
    summary = abstention.summary(np.linspace(1, 0, 100), np.arange(100) < 93, None)
    assert summary["accuracy_at_coverage_90"] == 1
    assert summary["accuracy_at_coverage_95"] == pytest.approx(93 / 95)


@pytest.mark.parametrize("threshold", [0.95, None])
def test_without_answers_coverage_is_zero_and_accuracy_unknown(threshold: float | None):
    summary = abstention.summary(CONFIDENCE, CORRECT, threshold)
    assert summary["abstention_threshold"] == threshold
    assert summary["abstention_coverage"] == 0
    assert summary["abstention_accuracy"] is None


@pytest.mark.parametrize(("target", "expected"), [(1.0, 0.9), (0.75, 0.6), (0.7, 0.6), (0.6, 0.5)])
def test_threshold_is_the_lowest_confidence_that_reaches_the_target(target: float, expected: float):
    assert abstention.threshold(CONFIDENCE, CORRECT, target) == expected


def test_examples_of_equal_confidence_are_answered_together():
    assert abstention.threshold(np.array([0.9, 0.9, 0.5]), np.array([True, False, True]), 0.6) == 0.5
    assert abstention.threshold(np.array([0.9, 0.9]), np.array([True, False]), 0.6) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30), st.integers(1, 10))
def test_threshold_reaches_the_target_and_no_lower_one_does(examples: list, tenths: int):
    confidence = np.array([level / 5 for level, _ in examples])
    correct = np.array([is_correct for _, is_correct in examples])
    sufficient = [
        level
        for level in np.unique(confidence)
        if correct[confidence >= level].sum() * 10 >= tenths * (confidence >= level).sum()
    ]
    assert abstention.threshold(confidence, correct, tenths / 10) == (min(sufficient) if sufficient else None)
