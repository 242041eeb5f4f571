import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.evaluate import abstention

CONFIDENCE = np.array(
    [0.6, 0.9, 0.8, 0.9, 0.5]
)  # the surest first: 0.9 right, 0.9 right, 0.8 wrong, 0.6 right, 0.5 wrong
RIGHT = np.array([True, True, False, True, False])


def test_the_curve_by_hand():
    assert abstention.curve(CONFIDENCE, RIGHT).to_dict("list") == {
        "coverage": pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]),
        "risk": pytest.approx([0, 0, 1 / 3, 1 / 4, 2 / 5]),
    }
    many = abstention.curve(np.linspace(0, 1, 12_345), np.ones(12_345, bool))
    assert len(many) == 100
    assert many["coverage"].tolist() == pytest.approx(np.arange(1, 101) / 100, abs=1e-4)


def test_the_summary_by_hand():
    summary = abstention.summary(CONFIDENCE, RIGHT)
    assert summary == {
        "accuracy_at_90": pytest.approx(3 / 5),
        "accuracy_at_95": pytest.approx(3 / 5),
        "area_under_curve": pytest.approx((1 / 3 + 1 / 4 + 2 / 5) / 5),
    }
    hundred = abstention.summary(np.linspace(1, 0, 100), np.arange(100) < 93)
    assert (hundred["accuracy_at_90"], hundred["accuracy_at_95"]) == pytest.approx((1, 93 / 95))


@pytest.mark.parametrize(("target", "least"), [(1.0, 0.9), (0.75, 0.6), (0.7, 0.6), (0.6, 0.5)])
def test_the_threshold_is_the_least_confidence_that_holds(target: float, least: float):
    assert abstention.threshold(CONFIDENCE, RIGHT, target) == least


def test_equal_confidences_are_answered_together():
    assert abstention.threshold(np.array([0.9, 0.9, 0.5]), np.array([True, False, True]), 0.6) == 0.5
    assert abstention.threshold(np.array([0.9, 0.9]), np.array([True, False]), 0.6) is None


def test_what_the_threshold_gives():
    assert abstention.at_threshold(CONFIDENCE, RIGHT, 0.8) == {
        "threshold": 0.8,
        "coverage": 0.6,
        "accuracy": pytest.approx(2 / 3),
    }
    assert abstention.at_threshold(CONFIDENCE, RIGHT, 0.95) == {"threshold": 0.95, "coverage": 0, "accuracy": None}
    assert abstention.at_threshold(CONFIDENCE, RIGHT, None) == {"threshold": None, "coverage": 0, "accuracy": None}


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30), st.integers(1, 10))
def test_the_target_holds_down_to_the_threshold_and_to_no_lesser_one(pictures: list, tenths: int):
    confidence, right = np.array([level / 5 for level, _ in pictures]), np.array([good for _, good in pictures])
    holds = [
        level
        for level in np.unique(confidence)
        if right[confidence >= level].sum() * 10 >= tenths * (confidence >= level).sum()
    ]
    assert abstention.threshold(confidence, right, tenths / 10) == (min(holds) if holds else None)
