import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.evaluate import label_errors


def test_suspicion_by_hand():
    probabilities = np.array(
        [
            [0.9, 0.1, 0.0],  # a cat
            [0.7, 0.3, 0.0],  # a cat, so the threshold of cats is 0.8
            [0.2, 0.8, 0.0],  # a dog
            [0.85, 0.15, 0.0],  # labelled dog, but above the threshold of cats; the threshold of dogs is 0.475
            [0.0, 0.0, 1.0],  # an owl
        ]
    )
    margins, suspected, _ = label_errors.suspicion(probabilities, np.array([0, 0, 1, 1, 2]))
    assert margins == pytest.approx([-0.8, -0.4, -0.6, 0.7, -1.0])
    assert suspected.tolist() == [False, False, False, True, False]


def test_a_label_that_is_the_most_probable_is_not_suspected():
    """Although the threshold of dogs is 0.35, the image `a` is rather a cat, as its label says."""
    probabilities = np.array([[0.55, 0.45], [0.99, 0.01], [0.6, 0.4], [0.7, 0.3]])
    margins, suspected, _ = label_errors.suspicion(probabilities, np.array([0, 0, 1, 1]))
    assert margins[0] < 0 and not suspected[0]
    table = label_errors.table(probabilities, np.array([0, 0, 1, 1]), np.array(list("abcd")), ("cat", "dog"))
    assert (table["margin"] > 0).all()


def test_a_class_without_examples_is_never_suggested():
    _, suspected, _ = label_errors.suspicion(np.array([[0.1, 0.9], [0.2, 0.8]]), np.array([0, 0]))
    assert not suspected.any()


def test_table_is_empty_without_suspects():
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.9, 0.1], [0.2, 0.8], [0.05, 0.95]])
    table = label_errors.table(probabilities, np.array([0, 0, 0, 0, 1]), np.array(list("abcde")), ("cat", "dog"))
    assert table.to_dict("list") == {"id": [], "label": [], "suggested": [], "margin": []}


def test_table_starts_with_the_most_suspect():
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    table = label_errors.table(probabilities, np.array([0, 0, 0, 0, 1]), np.array(list("abcde")), ("cat", "dog"))
    assert table["id"].tolist() == ["b", "d"]
    assert table["label"].tolist() == ["cat", "cat"] and table["suggested"].tolist() == ["dog", "dog"]
    assert table["margin"].tolist() == pytest.approx([0.8, 0.6])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_flipped_labels_come_first(seed: int):
    random = np.random.default_rng(seed)
    true_labels, rows = random.integers(3, size=300), np.arange(300)
    probabilities = random.dirichlet([0.3] * 3, 300)
    # Swap columns so that every prediction is correct.
    best, of_label = probabilities.max(1), probabilities[rows, true_labels]
    probabilities[rows, probabilities.argmax(1)], probabilities[rows, true_labels] = of_label, best
    labels = true_labels.copy()
    flipped = random.choice(300, 9, replace=False)
    labels[flipped] = (true_labels[flipped] + 1) % 3
    margins, _, _ = label_errors.suspicion(probabilities, labels)
    assert set(np.argsort(-margins)[:9].tolist()) == set(flipped.tolist())
