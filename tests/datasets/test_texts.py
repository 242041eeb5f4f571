import json
from pathlib import Path

import pytest

from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, texts

ROWS = [("Where is it?", "arrival"), ("It's lost, help", "lost"), ("Still not here", "arrival"), ("Stolen!", "lost")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path / "datasets")
    made = tmp_path / "datasets" / "mine"
    made.mkdir(parents=True)
    return made


def table(delimiter: str = ",", header: str = "text{0}label") -> str:
    rows = [f'"{one}"{delimiter}{label}' for one, label in ROWS]
    return "\n".join([header.format(delimiter), *rows]) + "\n"


def built(folder: Path) -> list[texts.Entry]:
    dataset = descriptions.load("mine")
    assert dataset.kind == "text"
    texts.build(dataset, folder.parent / "raw")
    return texts.read(folder.parent / "raw")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_table_is_found_by_itself(delimiter: str, mark: bytes, folder: Path):
    (folder / "questions.csv").write_bytes(mark + table(delimiter).encode())
    found = built(folder)
    assert [(entry.text, entry.label) for entry in found] == ROWS
    assert [entry.id for entry in found] == [f"questions/{number:05}" for number in range(1, 5)]
    assert {entry.split for entry in found} == {""}
    assert json.loads((folder.parent / "raw/dataset.json").read_text())["classes"] == ["arrival", "lost"]


def test_files_named_by_split_are_the_splits(folder: Path):
    (folder / "train.csv").write_text(table(header="Question{0}Intent"))
    (folder / "test.jsonl").write_text(json.dumps({"text": "Hi", "category": "lost", "id": 7}) + "\n")
    found = {entry.id: entry.split for entry in built(folder)}
    assert found["7"] == "test" and set(found.values()) == {"train", "test"}


def test_rows_without_a_label_are_unlabelled(folder: Path):
    (folder / "train.csv").write_text(table() + "Hello?,\n")
    (folder / "test.csv").write_text(table())
    found = built(folder)
    assert [(entry.text, entry.label) for entry in found if entry.split == "unlabelled"] == [("Hello?", "")]
    assert len(found) == 9 and {entry.split for entry in found} == {"train", "test", "unlabelled"}


@pytest.mark.parametrize(
    ("contents", "facts"),
    [
        (table().encode("utf-16"), ["not UTF-8", "save it as UTF-8"]),
        (table().replace("Stolen", "Stol\0en").encode(), ["NUL", "line 5"]),
        (b'text,label\n"never closed,lost\nmore,lost\n', ["quotes"]),
        (b"Where is it?,arrival\nLost,lost\n", ["no column text", "Where is it?"]),
        (b"text,label\na,b,c\n", ["line 2", "3 values", "2 columns"]),
        (b"text,label,split\nhi,,test\nho,lost,\n", ["row 1", "no label", "'test'"]),
        (b"text,label,split\nhi,lost,soon\n", ["row 1", "'soon'", "train, val, test"]),
        (b"text,label\nhi,\nho,\n", ["2 texts", "no text with a label"]),
        (b"text,label\n" + b"x" * 2_000_000 + b",lost\n", ["line 2", "field larger"]),
        (b"text,label\n", ["no rows"]),
        (b"text,label\na,lost\nb,lost\n", ["only one class"]),
    ],
)
def test_a_bad_table_ends_in_one_line(contents: bytes, facts: list[str], folder: Path):
    (folder / "dataset.yaml").write_text("kind: text\n")
    (folder / "mine.csv").write_bytes(contents)
    with pytest.raises(DarkroomError) as error:
        built(folder)
    message = str(error.value)
    assert all(fact in message for fact in facts) and "\n" not in message
