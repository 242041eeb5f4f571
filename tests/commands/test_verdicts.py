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
    assert correct.mean() - verdicts.lowered(correct, 0.01).mean() == pytest.approx(0.01, abs=1e-5)
    assert verdicts.lowered(correct, -0.01).mean() - correct.mean() == pytest.approx(0.01, abs=1e-5)


def test_equal_pairs_are_rarely_called_different_and_very_different_pairs_always():
    correct = verdicts.sharpened(PROBABILITIES, 0.06)
    same, worse = (verdicts.Simulation(verdicts.lowered(correct, loss), 0.002) for loss in (0, 0.1))
    assert max(verdicts.called_different(same, same, 0.002, 40).values()) <= 0.15
    assert min(verdicts.called_different(same, worse, 0.002, 10).values()) == 1
