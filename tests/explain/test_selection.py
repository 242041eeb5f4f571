import numpy as np
import pytest

from darkroom.explain.selection import KINDS, once, select
from tests.explain.toys import probabilities


def chosen(predicted: np.ndarray, labels: np.ndarray, per_kind: int) -> list[list[int]]:
    found = select(predicted, labels, per_kind)
    assert tuple(found) == KINDS
    return [indices.tolist() for indices in found.values()]


def test_correct_ones_alternate_between_classes_then_come_incorrect_and_uncertain_ones():
    predicted = probabilities([0.99, 0.98, 0.7, 0.9, 0.8, 0.6, 0.4, 0.5], [0, 0, 1, 1, 2, 2, 0, 0])
    labels = np.array([0, 0, 1, 0, 0, 0, 0, 0])
    assert chosen(predicted, labels, 2) == [[0, 2], [3, 4], [6, 7]]
    assert chosen(predicted, labels, 1) == [[0], [3], [6]]


@pytest.mark.parametrize(
    ("predicted", "selected"),
    [
        ([0, 0, 0], [[0, 1, 2], [], []]),  # none is incorrect
        ([1, 1, 1], [[], [0, 1, 2], []]),  # none is correct
        ([0, 1, 0], [[0, 2], [1], []]),  # none remains that is uncertain
    ],
)
def test_no_index_is_repeated_if_there_are_too_few(predicted: list[int], selected: list[list[int]]):
    assert chosen(probabilities([0.9, 0.8, 0.7], predicted), np.zeros(3, np.int64), 5) == selected


def test_equal_confidence_keeps_the_order():
    assert chosen(probabilities([0.9] * 4, [0, 0, 1, 1]), np.zeros(4, np.int64), 1) == [[0], [2], [3]]


def test_maps_of_an_example_are_computed_once():
    asked = []

    def maps(rows: np.ndarray) -> dict[str, np.ndarray]:
        asked.extend(rows.tolist())
        return {"one": rows * 10, "two": rows[:, None] * np.array([1, 2])}

    first, second = once(maps, np.array([7, 2, 5]), np.array([2, 3, 7]))
    assert asked == [2, 3, 5, 7]
    assert first["one"].tolist() == [70, 20, 50] and second["one"].tolist() == [20, 30, 70]
    assert first["two"].tolist() == [[7, 14], [2, 4], [5, 10]] and second["two"].shape == (3, 2)
