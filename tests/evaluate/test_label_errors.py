from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.core.errors import DarkroomError
from darkroom.evaluate import label_errors
from darkroom.preprocess import relabel
from darkroom.preprocess.samples import Samples

CLASSES = ("cat", "dog", "owl")
SAMPLES = Samples(
    np.array(["a", "b, c", "d"]), np.array([0, 1, 2]), np.array(["train", "train", "test"]), np.array([""] * 3)
)


def test_a_label_is_suspect_where_another_class_is_as_probable_as_that_class_is_of_its_own():
    probabilities = np.array(
        [
            [0.9, 0.1, 0.0],  # a cat
            [0.7, 0.3, 0.0],  # a cat: the threshold of cats is 0.8
            [0.2, 0.8, 0.0],  # a dog
            [0.85, 0.15, 0.0],  # labelled a dog, more than 0.8 a cat; the threshold of dogs is 0.475
            [0.0, 0.0, 1.0],  # an owl
        ]
    )
    margins, suspected = label_errors.suspicion(probabilities, np.array([0, 0, 1, 1, 2]))
    assert margins == pytest.approx([-0.8, -0.4, -0.6, 0.7, -1.0])
    assert suspected.tolist() == [False, False, False, True, False]


def test_another_class_is_suggested_even_where_the_label_is_the_most_probable():
    probabilities = np.array([[0.55, 0.45], [0.99, 0.01], [0.6, 0.4], [0.7, 0.3]])
    table = label_errors.table(probabilities, np.array([0, 0, 1, 1]), np.array(list("abcd")), ("cat", "dog"))
    assert table.set_index("id")["suggested"].to_dict() == {"a": "dog"}  # dogs are called dogs with 0.35 on average
    assert table["margin"].tolist() == pytest.approx([-0.1])


def test_a_class_without_samples_suspects_nobody():
    _, suspected = label_errors.suspicion(np.array([[0.1, 0.9], [0.2, 0.8]]), np.array([0, 0]))
    assert not suspected.any()


def test_the_table_begins_with_the_most_suspect():
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.9, 0.1], [0.2, 0.8], [0.05, 0.95]])
    table = label_errors.table(probabilities, np.array([0, 0, 0, 0, 1]), np.array(list("abcde")), ("cat", "dog"))
    assert table.to_dict("list") == {"id": [], "label": [], "suggested": [], "margin": []}
    probabilities[4] = [0.4, 0.6]
    table = label_errors.table(probabilities, np.array([0, 0, 0, 0, 1]), np.array(list("abcde")), ("cat", "dog"))
    assert table["id"].tolist() == ["b", "d"]
    assert table["label"].tolist() == ["cat", "cat"] and table["suggested"].tolist() == ["dog", "dog"]
    assert table["margin"].tolist() == pytest.approx([0.8, 0.6])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_flipped_labels_come_first(seed: int):
    random = np.random.default_rng(seed)
    right = random.integers(3, size=300)
    probabilities = random.dirichlet([0.3] * 3, 300)
    rows = np.arange(300)
    best = probabilities.argmax(1)
    probabilities[rows, best], probabilities[rows, right] = (
        probabilities[rows, right],
        probabilities[rows, best],
    )  # a model that is always right
    given_labels = right.copy()
    flipped = random.choice(300, 9, replace=False)
    given_labels[flipped] = (right[flipped] + 1) % 3
    margins, _ = label_errors.suspicion(probabilities, given_labels)
    assert set(np.argsort(-margins)[:9].tolist()) == set(flipped.tolist())


def write(text: str) -> Path:
    path = Path("corrections.csv")
    path.write_text(text, newline="")
    return path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def test_corrections_change_labels_and_leave_pictures_out():
    found = relabel.corrected(SAMPLES, write('id,label,note\n"b, c",owl,seen\na,,blurred\n'), CLASSES)
    assert found.labels.tolist() == [0, 2, 2]
    assert found.splits.tolist() == ["", "train", "test"]
    assert SAMPLES.labels.tolist() == [0, 1, 2]


def test_what_was_ranked_can_be_fed_back():
    table = label_errors.table(
        np.array([[0.1, 0.9, 0.0], [0.3, 0.6, 0.1], [0.0, 0.2, 0.8]]), SAMPLES.labels, SAMPLES.ids, CLASSES
    )
    assert table["id"].tolist() == ["a"]
    table["label"] = table["suggested"]
    table.to_csv("corrections.csv", index=False)
    assert relabel.corrected(SAMPLES, Path("corrections.csv"), CLASSES).labels.tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id\na\n", "it has no column label"),
        ("", "it has no column id and no column label"),
        ("id,label\nz,cat\n", "row 1 names the picture 'z', which is not in the dataset"),
        (
            "id,label\na,cow\n",
            "row 1 has the label 'cow'; known are cat, dog, owl, or nothing to leave the picture out",
        ),
        ("id,label\na,cat\na,dog\n", "row 2 names 'a' for the second time"),
    ],
)
def test_a_mistake_in_the_corrections_is_named(text: str, sentence: str):
    with pytest.raises(DarkroomError) as caught:
        relabel.corrected(SAMPLES, write(text), CLASSES)
    assert sentence in str(caught.value) and "corrections.csv cannot be used" in str(caught.value)


def test_missing_corrections_are_named():
    with pytest.raises(DarkroomError, match=r"corrections\.csv is missing"):
        relabel.corrected(SAMPLES, Path("corrections.csv"), CLASSES)
