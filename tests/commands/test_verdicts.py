import numpy as np
import pytest

from benchmarks import verdicts

PROBABILITIES = np.random.default_rng(0).beta(8, 1, size=2000)


@pytest.mark.parametrize("disagreement", [0.02, 0.06])
def test_two_that_answer_by_the_chances_disagree_as_often_as_asked(disagreement: float):
    right = verdicts.chances(PROBABILITIES, disagreement)
    assert (2 * right * (1 - right)).mean() == pytest.approx(disagreement)
    assert (np.argsort(right) == np.argsort(PROBABILITIES)).all()


def test_the_worse_one_is_right_a_point_less_often():
    right = verdicts.chances(PROBABILITIES, 0.06)
    assert right.mean() - verdicts.worse(right, 1).mean() == pytest.approx(0.01)


def test_equal_pairs_are_seldom_called_and_very_different_ones_always():
    right, random = verdicts.chances(PROBABILITIES, 0.06), np.random.default_rng(0)
    assert verdicts.called(right, right, 100, random) <= 0.05
    assert verdicts.called(right, verdicts.worse(right, 10), 100, random) == 1
