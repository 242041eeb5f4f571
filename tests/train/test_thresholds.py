import pytest
import torch

from darkroom.train.thresholds import MOMENTUM, Fixed, SelfAdaptive, Tally
from tests.trainings import CPU


def tally(probabilities: list[float], predicted: list[float], confidence: float) -> Tally:
    return Tally(torch.tensor(probabilities), torch.tensor(predicted), torch.zeros(2), torch.tensor(confidence))


def test_a_fixed_threshold_stays():
    thresholds = Fixed(0.9, 2, CPU)
    thresholds.update(tally([3.0, 1.0], [4.0, 0.0], 3.5))
    assert thresholds.by_class.tolist() == pytest.approx([0.9, 0.9])
    assert thresholds.state() == {}


def test_a_self_adaptive_threshold_is_lower_for_classes_that_are_predicted_less():
    thresholds = SelfAdaptive(0.95, 2, CPU)
    assert thresholds.by_class.tolist() == [0.5, 0.5]
    thresholds.update(tally([3.0, 1.0], [4.0, 0.0], 3.6))  # of 4 examples
    new = 1 - MOMENTUM
    confidence, first, second = 0.5 + new * 0.4, 0.5 + new * 0.25, 0.5 - new * 0.25
    assert thresholds.by_class.tolist() == pytest.approx([confidence, confidence * second / first])
    assert thresholds.predicted.tolist() == pytest.approx([0.5 + new * 0.5, 0.5 - new * 0.5])


def test_a_self_adaptive_threshold_has_a_limit_and_a_state():
    thresholds = SelfAdaptive(0.8, 2, CPU)
    for _ in range(500):
        thresholds.update(tally([2.0, 2.0], [2.0, 2.0], 3.99))
    assert thresholds.by_class.tolist() == pytest.approx([0.8, 0.8])
    other = SelfAdaptive(0.8, 2, CPU)
    other.restore({name: tensor.clone() for name, tensor in thresholds.state().items()})
    assert torch.equal(other.by_class, thresholds.by_class)
    assert all(torch.equal(value, other.state()[name]) for name, value in thresholds.state().items())
