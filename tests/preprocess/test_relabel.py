from pathlib import Path

import numpy as np
import pytest

from darkroom.core.errors import DarkroomError
from darkroom.datasets import answers
from darkroom.evaluate import label_errors
from darkroom.preprocess import relabel
from darkroom.preprocess.cleaning import KEPT, LABELLED, RELABELLED, REMOVED, Finding
from darkroom.preprocess.samples import Samples

CLASSES = ("cat", "dog", "owl")
NAME = "corrections.csv"
SAMPLES = Samples(
    np.array(["a", "b, c", "d"]), np.array([0, 1, 2]), np.array(["train", "train", "test"]), np.full(3, "")
)


PEOPLE = "id,label,by,at\n"


def verdicts(folder: Path, text: str, samples: Samples = SAMPLES, name: str = NAME) -> dict[int, relabel.Verdict]:
    (folder / name).write_text(text, newline="")
    return relabel.read(samples.ids, folder, name, CLASSES)


def applied(samples: Samples, given: dict[int, relabel.Verdict]) -> Samples:
    return relabel.leave_out(relabel.apply(samples, given), given)


def listed(samples: Samples, given: dict[int, relabel.Verdict], splits: np.ndarray) -> dict[int, Finding]:
    return relabel.findings(samples, applied(samples, given), given, splits, CLASSES)


def corrected(folder: Path, text: str) -> Samples:
    return applied(SAMPLES, verdicts(folder, text))


def answered(*rows: tuple[str, str, str], minutes: tuple[int, ...] = ()) -> str:
    """labels.csv with rows (id, label, by), one minute apart or at the given minutes."""
    times = minutes or range(len(rows))
    lines = (
        f'"{row[0]}",{row[1]},{row[2]},2026-01-31T12:{at:02}:00.000Z\n' for row, at in zip(rows, times, strict=True)
    )
    return "".join([PEOPLE, *lines])


def test_corrections_change_labels_and_remove_images(tmp_path: Path):
    found = corrected(tmp_path, 'id,label,note\n"b, c",owl,seen\na,,blurred\n')
    assert found.labels.tolist() == [0, 2, 2]
    assert found.splits.tolist() == ["", "train", "test"]
    assert SAMPLES.labels.tolist() == [0, 1, 2]


def test_corrections_are_listed(tmp_path: Path):
    given = verdicts(tmp_path, 'id,label\n"b, c",owl\na,\nd,owl\n')
    splits = np.array(["train", "val", "test"])
    assert listed(SAMPLES, given, splits) == {
        0: Finding("a", "train", "relabelled", "labelled cat, removed by hand", REMOVED),
        1: Finding("b, c", "val", "relabelled", "labelled dog, corrected to owl", RELABELLED),
    }
    assert listed(SAMPLES, {}, splits) == {}


@pytest.mark.parametrize("name", ["none", "auto"])
def test_without_corrections_nothing_changes(tmp_path: Path, name: str):
    assert relabel.read(SAMPLES.ids, tmp_path, name, CLASSES) == {}
    found = applied(SAMPLES, {})
    assert (found.labels.tolist(), found.splits.tolist()) == (SAMPLES.labels.tolist(), SAMPLES.splits.tolist())


def test_auto_reads_the_answers_of_the_label_page(tmp_path: Path):
    (tmp_path / "labels.csv").write_text(answered(("a", "dog", "anna")))
    assert relabel.read(SAMPLES.ids, tmp_path, "auto", CLASSES)[0].label == 1
    assert relabel.read(SAMPLES.ids, tmp_path, "none", CLASSES) == {}


def test_a_file_that_a_full_disk_left_empty_has_no_answers(tmp_path: Path):
    (tmp_path / "labels.csv").write_text("")
    assert relabel.read(SAMPLES.ids, tmp_path, "auto", CLASSES) == {}
    assert answers.parse("") == answers.parse(PEOPLE) == []


def test_the_latest_answer_of_a_person_counts(tmp_path: Path):
    rows = ("a", "dog", "anna"), ("a", "owl", "anna")
    assert verdicts(tmp_path, answered(*rows))[0].label == 2
    assert verdicts(tmp_path, answered(*rows, minutes=(1, 0)))[0].label == 1  # two files, merged
    assert verdicts(tmp_path, answered(*rows, minutes=(1, 1)))[0].label == 2


def test_more_than_half_of_the_people_decide(tmp_path: Path):
    rows = ("a", "dog", "anna"), ("a", "owl", "ben"), ("d", "", "anna")
    found = verdicts(tmp_path, answered(*rows))
    assert (found[0].label, found[0].rule, found[2].label, found[2].rule) == (-1, "disputed", -1, "unclear")
    assert verdicts(tmp_path, answered(*rows, ("a", "owl", "cleo")))[0].label == 2
    splits = np.array(["train", "val", "test"])
    named = listed(SAMPLES, found, splits)
    assert [(one.rule, one.action) for one in named.values()] == [("disputed", REMOVED), ("unclear", KEPT)]
    after = applied(SAMPLES, found)
    assert (after.splits.tolist(), after.labels.tolist()) == (["", "train", "test"], [0, 1, 2])


def test_a_label_puts_an_unlabelled_example_into_training(tmp_path: Path):
    ids, groups = np.array(["a", "b", "c", "d"]), np.full(4, "")
    samples = Samples(ids, np.array([-1, -1, -1, 0]), np.array(["unlabelled"] * 3 + ["test"]), groups)
    given = verdicts(tmp_path, answered(("a", "dog", "anna"), ("b", "", "anna")), samples)
    after = applied(samples, given)
    assert after.labels.tolist() == [1, -1, -1, 0]
    assert after.splits.tolist() == ["train", "", "unlabelled", "test"]
    assert relabel.newly_labelled(samples, given).tolist() == [0]
    named = listed(samples, given, samples.splits)
    assert [(one.rule, one.action) for one in named.values()] == [(LABELLED, LABELLED), ("unclear", REMOVED)]


def test_a_newly_labelled_example_must_not_be_in_a_group_that_is_held_out():
    groups = np.array(["p", "q", "", "p", ""])
    splits = np.array(["train", "train", "train", "test", "val"])
    samples = Samples(np.array(list("abcde")), np.zeros(5, np.int64), splits, groups)
    found = relabel.group_leaks(samples, np.array([0, 1, 2]))
    assert {index: (one.rule, one.action) for index, one in found.items()} == {0: ("leak", REMOVED)}


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
        ("id,label\na\n", "row 1: id = 'a' has no label"),
        ('id,label\n"a,cat\n', "unexpected end"),
        ("id,label,by\na,cat,anna\n", "column at"),
        (answered(("a", "cat", "anna"), ("z", "cat", "anna")), "row 2: id = 'z'"),
        (answered(("a", "cow", "anna")), "row 1: label = 'cow'.* cat, dog, owl"),
        (PEOPLE + "a,cat,anna,2026-01", "row 1: at = '2026-01'"),
        (PEOPLE + "a,ca", "row 1 does not have 4 values"),
        (PEOPLE + "a,cat,,2026-01-31T12:00:00Z\n", "row 1: by is empty"),
    ],
)
def test_an_invalid_row_is_named(tmp_path: Path, text: str, facts: str):
    with pytest.raises(DarkroomError, match=rf"corrections\.csv.*{facts}"):
        corrected(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DarkroomError, match=r"preprocess\.relabel = corrections\.csv"):
        relabel.read(SAMPLES.ids, tmp_path, NAME, CLASSES)
