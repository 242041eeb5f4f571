from pathlib import Path

import numpy as np
import pytest

from darkroom.core.errors import DarkroomError
from darkroom.evaluate import label_errors
from darkroom.preprocess import relabel
from darkroom.preprocess.cleaning import RELABELLED, REMOVED, Finding
from darkroom.preprocess.samples import Samples

CLASSES = ("cat", "dog", "owl")
NAME = "corrections.csv"
SAMPLES = Samples(
    np.array(["a", "b, c", "d"]), np.array([0, 1, 2]), np.array(["train", "train", "test"]), np.full(3, "")
)


def corrected(folder: Path, text: str) -> Samples:
    (folder / NAME).write_text(text, newline="")
    return relabel.apply(SAMPLES, folder, NAME, CLASSES)


def test_corrections_change_labels_and_remove_images(tmp_path: Path):
    found = corrected(tmp_path, 'id,label,note\n"b, c",owl,seen\na,,blurred\n')
    assert found.labels.tolist() == [0, 2, 2]
    assert found.splits.tolist() == ["", "train", "test"]
    assert SAMPLES.labels.tolist() == [0, 1, 2]


def test_corrections_are_listed(tmp_path: Path):
    after = corrected(tmp_path, 'id,label\n"b, c",owl\na,\nd,owl\n')
    splits = np.array(["train", "val", "test"])
    assert relabel.findings(SAMPLES, after, splits, CLASSES) == {
        0: Finding("a", "train", "relabelled", "labelled cat, removed by hand", REMOVED),
        1: Finding("b, c", "val", "relabelled", "labelled dog, corrected to owl", RELABELLED),
    }
    assert relabel.findings(SAMPLES, SAMPLES, splits, CLASSES) == {}


def test_without_corrections_nothing_changes(tmp_path: Path):
    assert relabel.apply(SAMPLES, tmp_path, "none", CLASSES) is SAMPLES


def test_suspect_labels_can_be_read_as_corrections(tmp_path: Path):
    """The table of label_errors, with `label` replaced by `suggested`."""
    probabilities = np.array([[0.1, 0.9, 0.0], [0.3, 0.6, 0.1], [0.0, 0.2, 0.8]])
    table = label_errors.table(probabilities, SAMPLES.labels, SAMPLES.ids, CLASSES)
    assert table["id"].tolist() == ["a"]
    table["label"] = table["suggested"]
    assert corrected(tmp_path, table.to_csv(index=False)).labels.tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("id\na\n", "column label"),
        ("", "column id, label"),
        ("id,label\nz,cat\n", "row 1: id = 'z'"),
        ("id,label\na,cow\n", "row 1: label = 'cow'.* cat, dog, owl"),
        ("id,label\na,cat\na,dog\n", "row 2: id = 'a'"),
    ],
)
def test_an_invalid_row_is_named(tmp_path: Path, text: str, facts: str):
    with pytest.raises(DarkroomError, match=rf"corrections\.csv.*{facts}"):
        corrected(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DarkroomError, match=r"preprocess\.relabel = corrections\.csv"):
        relabel.apply(SAMPLES, tmp_path, NAME, CLASSES)
