import numpy as np
import pytest

from darkroom.explain.selection import select
from tests.explain.toys import probabilities


def test_correct_ones_alternate_between_classes_then_come_incorrect_and_uncertain_ones():
    predicted = probabilities([0.99, 0.98, 0.7, 0.9, 0.8, 0.6, 0.4, 0.5], [0, 0, 1, 1, 2, 2, 0, 0])
    labels = np.array([0, 0, 1, 0, 0, 0, 0, 0])
    assert select(predicted, labels, 2).tolist() == [0, 2, 3, 4, 6, 7]
    assert select(predicted, labels, 1).tolist() == [0, 3, 6]


@pytest.mark.parametrize(
    ("predicted", "selected"),
    [
        ([0, 0, 0], [0, 1, 2]),  # none is incorrect
        ([1, 1, 1], [0, 1, 2]),  # none is correct
        ([0, 1, 0], [0, 2, 1]),  # none remains that is uncertain
    ],
)
def test_no_index_is_repeated_if_there_are_too_few(predicted: list[int], selected: list[int]):
    assert select(probabilities([0.9, 0.8, 0.7], predicted), np.zeros(3, np.int64), 5).tolist() == selected


def test_equal_confidence_keeps_the_order():
    assert select(probabilities([0.9] * 4, [0, 0, 1, 1]), np.zeros(4, np.int64), 1).tolist() == [0, 2, 3]
