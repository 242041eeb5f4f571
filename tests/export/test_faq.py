"""Tests of frequently asked questions: their table, and how well they are found."""

from pathlib import Path

import numpy as np
import pytest

from darkroom.bundle import faq as bundled
from darkroom.core.errors import DarkroomError
from darkroom.export import faq
from darkroom.export.faq import Entry

CLASSES = ("card", "pin")


def table(folder: Path, contents: str | bytes) -> Path:
    path = folder / "faq.csv"
    path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    return path


def test_questions_are_cleaned(tmp_path: Path):
    path = table(
        tmp_path, '\ufeffquestion,answer,intent,other\r\n" Where\nis it? ","On its\nway.",card,x\r\nPIN?,App.,,\r\n'
    )
    assert faq.read(path, CLASSES) == [Entry("Where is it?", "On its\nway.", "card"), Entry("PIN?", "App.", "")]


def test_the_intent_is_optional(tmp_path: Path):
    assert faq.read(table(tmp_path, "question,answer\nPIN?,App.\n"), CLASSES) == [Entry("PIN?", "App.", "")]


@pytest.mark.parametrize(
    ("contents", "named"),
    [
        ("", "question and answer"),
        ("question,reply\na,b\n", "no column answer"),
        ("question,answer\n", "0 questions"),
        ("question,answer\na,b\n ,b\n", "row 2"),
        ("question,answer\na, \n", "row 1"),
        ("question,answer\na\n", "row 1"),
        ("question,answer\na,b,c\n", "row 1"),
        ("question,answer,intent\na,b,loan\n", "'loan'"),
        ('question,answer\n"a,b\n', "unexpected end"),
        ("question,answer\na,b\n".encode("utf-16"), "UTF-8"),
        ("question,answer\n" + "a,b\n" * (faq.MOST + 1), "10,001"),
        ("question,answer\n" + "a" * 20_001 + ",b\n", "20,001"),
    ],
)
def test_a_table_that_cannot_be_used_is_named_in_one_line(tmp_path: Path, contents: str | bytes, named: str):
    with pytest.raises(DarkroomError) as raised:
        faq.read(table(tmp_path, contents), CLASSES)
    assert named in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("block", [1, 2, 1000])
def test_recall_counts_texts_whose_class_has_a_question(monkeypatch: pytest.MonkeyPatch, block: int):
    monkeypatch.setattr(faq, "_BLOCK", block)
    questions = np.eye(4, dtype=np.float32)
    texts = np.array([[1, 0, 0, 0], [0.6, 0.5, 0.4, 0.1], [0, 0, 0, 1], [1, 0, 0, 0]], np.float32)
    found = faq.recall(questions, ["card", "pin", "pin", "card"], texts, ["card", "pin", "pin", "loan"])
    assert found == {"faq_recall_at_1": 1 / 3, "faq_recall_at_3": 1.0, "faq_tested": 3}


def test_nothing_is_measured_without_intents():
    assert faq.recall(np.eye(2), ["", ""], np.eye(2), ["card", "pin"]) == {}


def test_the_nearest_question():
    entries = [{"question": "Card?", "answer": "Post."}, {"question": "PIN?", "answer": "App."}]
    read = bundled.read(bundled.files(entries, np.eye(2, dtype=np.float32)))
    assert read.nearest(np.array([[0.6, 0.8], [1, 0]], np.float32)) == [
        {**entries[1], "similarity": pytest.approx(0.8)},
        {**entries[0], "similarity": 1.0},
    ]
    assert bundled.read({}) is None


@pytest.mark.parametrize(
    "changed", [{"faq.json": b"[]"}, {"faq.json": b"{"}, {"faq.npy": b""}, {"faq.npy": b"PK\x03\x04"}]
)
def test_files_that_do_not_belong_together(changed: dict[str, bytes]):
    files = bundled.files([{"question": "Card?", "answer": "Post."}], np.eye(1, dtype=np.float32))
    with pytest.raises(DarkroomError):
        bundled.read(files | changed)
