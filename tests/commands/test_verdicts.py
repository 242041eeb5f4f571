import numpy as np
import pytest

from benchmarks import verdicts

PROBABILITIES = np.random.default_rng(0).beta(8, 1, size=2000)


@pytest.mark.parametrize("disagreement", [0.02, 0.06])
def test_two_classifiers_disagree_as_often_as_requested(disagreement: float):
    correct = verdicts.sharpened(PROBABILITIES, disagreement)
    assert (2 * correct * (1 - correct)).mean() == pytest.approx(disagreement)
    assert (np.argsort(correct) == np.argsort(PROBABILITIES)).all()


def test_the_lowered_accuracy_is_a_point_less():
    correct = verdicts.sharpened(PROBABILITIES, 0.06)
    assert correct.mean() - verdicts.lowered(correct, 1).mean() == pytest.approx(0.01)


def test_equal_pairs_are_rarely_called_different_and_very_different_pairs_always():
    correct, random = verdicts.sharpened(PROBABILITIES, 0.06), np.random.default_rng(0)
    assert verdicts.called_different(correct, correct, 100, random) <= 0.05
    assert verdicts.called_different(correct, verdicts.lowered(correct, 10), 100, random) == 1
