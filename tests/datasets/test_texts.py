import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkroom.core.arrays import OUT_OF_SCOPE, UNLABELLED
from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, index, texts

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


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_table_without_labels_may_have_any_delimiter(delimiter: str, folder: Path):
    (folder / "train.csv").write_text(table())
    (folder / "unlabelled.csv").write_text(f'id{delimiter}"Message"\n1{delimiter}"Why, or; where?"\n')
    found = [entry for entry in built(folder) if entry.split == UNLABELLED]
    assert [(entry.id, entry.text) for entry in found] == [("1", "Why, or; where?")]


@pytest.mark.parametrize("name", ["data_full.json", "questions.xlsx"])
def test_a_table_in_another_format_is_named(name: str, folder: Path):
    (folder / name).write_text("{}")
    with pytest.raises(DarkroomError, match=rf"no images: .* If {name} holds texts.*\.jsonl") as error:
        index.build(descriptions.load("mine"), folder.parent / "raw")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("columns", "label"), [("text,intent", "oos"), ("utterance,category", "OOD")])
def test_intents_with_out_of_scope_texts_in_every_split(columns: str, label: str, folder: Path):
    """The layout of CLINC150: oos is a label like others, in train, valid and test."""
    for name in ("train", "valid", "test"):
        rows = [f"{name} {number},{intent}" for number, intent in enumerate(("lost", "arrival", label))]
        (folder / f"{name}.csv").write_text("\n".join([columns, *rows]) + "\n")
    found = built(folder)
    assert sorted(entry.split for entry in found) == sorted([OUT_OF_SCOPE] * 3 + ["train", "val", "test"] * 2)
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
        (table().encode("utf-16"), ["not UTF-8, but UTF-16", "save it as UTF-8"]),
        ("text,label\ncafé,lost\n".encode("latin-1"), ["not UTF-8", "line 2", "save it as UTF-8"]),
        (table().replace("Stolen", "Stol\0en").encode(), ["NUL", "line 5"]),
        (b'text,label\n"never closed,lost\nmore,lost\n', ["quotes"]),
        (b"Where is it?,arrival\nLost,lost\n", ["no column text", "Where is it?"]),
        (b"text,label\na,b,c\n", ["line 2", "3 values", "2 columns"]),
        (b"text,label,split\nhi,,test\nho,lost,\n", ["row 1", "no label", "'test'"]),
        (b"text,label,split\nhi,lost,soon\n", ["row 1", "'soon'", "train, val, test"]),
        (b"text,label\nhi,\nho,\n", ["2 texts", "no text with a label"]),
        (table().encode("utf-16-le"), ["NUL", "line 1"]),
        (b"text,label,text\na,lost,b\n", ["two columns", "'text'"]),
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


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ('{"text": "hi"', ["line 2 is not JSON"]),
        ("[1]", ["line 2 is not an object"]),
        ('{"text": ["hi"], "label": "lost"}', ["line 2", "'text' must be a text"]),
        ('{"text": "hi", "label": "\\ud800"}', ["row 2", "not valid Unicode"]),
        ("[" * 100_000, ["cannot be read"]),
    ],
)
def test_bad_json_lines_end_in_one_line(line: str, facts: list[str], folder: Path):
    (folder / "mine.jsonl").write_text('{"text": "ho", "label": "lost"}\n' + line + "\n")
    with pytest.raises(DarkroomError) as error:
        built(folder)
    message = str(error.value)
    assert all(fact in message for fact in facts) and "\n" not in message


@pytest.mark.parametrize("text", ["x" * 10_000_000, "", " \u200b", '"\ud800"'])
def test_an_unusable_text_is_marked_and_the_others_are_kept(text: str, folder: Path):
    rows = [{"text": one, "label": label} for one, label in (*ROWS, (text, "lost"))]
    if text == '"\ud800"':
        (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        (folder / "mine.csv").write_text(table() + f'"{text}",lost\n')
    *good, bad = built(folder)
    assert [entry.problem for entry in good] == [""] * 4 and bad.problem and not bad.text


def test_scripts_and_emoji_are_kept(folder: Path):
    texts_given = ["איפה הכרטיס שלי?", "أين بطاقتي", "我的卡在哪里", "card 💳🏽 lost", "<script>alert(1)</script>"]
    (folder / "mine.csv").write_text(table() + "".join(f"{one},lost\n" for one in texts_given), encoding="utf-8")
    assert [entry.text for entry in built(folder)][4:] == texts_given


def write_files(folder: Path, *paths: str) -> None:
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"text {number}\n", encoding="utf-8")


def test_text_files_in_class_folders(folder: Path):
    write_files(folder, "lost/a.txt", "lost/b.txt", "arrival/a.txt", "unlabelled/c.txt", "oos/d.txt", "README.md")
    (folder / "lost/bad.txt").write_bytes("café".encode("latin-1"))
    (folder / "lost/nul.txt").write_bytes(b"a\0b")
    found = built(folder)
    assert [(entry.id, entry.text, entry.label, entry.split) for entry in found] == [
        ("arrival/a.txt", "text 2", "arrival", ""),
        ("lost/a.txt", "text 0", "lost", ""),
        ("lost/b.txt", "text 1", "lost", ""),
        ("lost/bad.txt", "", "lost", ""),
        ("lost/nul.txt", "", "lost", ""),
        ("oos/d.txt", "text 4", "", OUT_OF_SCOPE),
        ("unlabelled/c.txt", "text 3", "", UNLABELLED),
    ]
    assert [entry.id for entry in found if entry.problem] == ["lost/bad.txt", "lost/nul.txt"]


def test_text_files_in_splits(folder: Path):
    write_files(folder, *(f"{split}/{label}/1.txt" for split in ("train", "test") for label in ("lost", "arrival")))
    assert {(entry.label, entry.split) for entry in built(folder)} == {
        (label, split) for split in ("train", "test") for label in ("lost", "arrival")
    }


def test_corrections_of_labels_are_no_texts(folder: Path):
    (folder / "train.csv").write_text(table())
    (folder / "corrections.csv").write_text("id,label\ntrain/00001,lost\n")
    assert len(built(folder)) == len(ROWS)
    (folder / "train.csv").unlink()
    write_files(folder, "lost/a.txt", "arrival/b.txt")
    assert descriptions.load("mine").kind == "text"


@pytest.mark.parametrize(("name", "wanted"), [("unlabelled", "unlabelled.csv"), ("OOS", "out_of_scope.csv")])
def test_folders_of_texts_beside_tables_are_not_passed_over(folder: Path, name: str, wanted: str):
    (folder / "train.csv").write_text(table())
    write_files(folder, f"{name}/a.txt", f"{name}/README.md", f"{name}/more.csv")
    with pytest.raises(DarkroomError, match=rf"{name} stands beside train\.csv.*{wanted}"):
        built(folder)


def test_a_table_beside_unlabelled_images_is_no_table_of_texts(folder: Path):
    (folder / "my_labels.csv").write_text("id,label\nunlabelled/a.jpg,cat\n")
    write_files(folder, "unlabelled/a.jpg")
    assert descriptions.load("mine").kind == "image"


def test_an_empty_folder_beside_tables_is_passed_over(folder: Path):
    (folder / "train.csv").write_text(table())
    (folder / "unlabelled").mkdir()
    (folder / "unlabelled/.gitkeep").touch()
    assert len(built(folder)) == len(ROWS)


def test_null_and_nan_are_no_values(folder: Path):
    given = ['{"text": "Where?", "label": "arrival", "source": null, "price": 1.5, "line": "a\\r b "}']
    given += ['{"text": "Lost", "label": "lost", "source": "web", "price": NaN, "line": " "}']
    given += ['{"text": "Other", "label": NaN, "source": "x", "price": 2, "line": ""}']
    (folder / "mine.jsonl").write_text("\n".join(given))
    entries = built(folder)
    assert [entry.columns for entry in entries[:2]] == [
        {"source": "", "price": "1.5", "line": "a b"},
        {"source": "web", "price": "", "line": ""},
    ]
    assert (entries[2].label, entries[2].split) == ("", "unlabelled")


def test_folders_with_other_files_hold_images(folder: Path):
    write_files(folder, "lost/a.txt", "arrival/b.png")
    assert descriptions.load("mine").kind == "image"


def test_unlabelled_and_out_of_scope_texts(folder: Path):
    (folder / "questions.csv").write_text(table() + "Who won?,OOS\nPlay music,out of scope\n")
    (folder / "out_of_scope.csv").write_text("text\nHow tall is it?\n")
    (folder / "unlabelled.csv").write_text("text\nWhy?\n")
    found = built(folder)
    assert [entry.text for entry in found if entry.split == OUT_OF_SCOPE] == [
        "How tall is it?",
        "Who won?",
        "Play music",
    ]
    assert [(entry.text, entry.label) for entry in found if entry.split == UNLABELLED] == [("Why?", "")]
    assert json.loads((folder.parent / "raw/dataset.json").read_text())["classes"] == ["arrival", "lost"]


def test_a_class_may_be_called_oos(folder: Path):
    (folder / "dataset.yaml").write_text("kind: text\nclasses: [arrival, lost, oos]\n")
    (folder / "questions.csv").write_text(table() + "Who won?,oos\n")
    assert [entry.label for entry in built(folder)][-1] == "oos"


TABLES = st.text(max_size=60).map(lambda rows: b"text,label\n" + rows.encode("utf-8", "ignore"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(contents=st.binary(max_size=60) | TABLES)
def test_any_bytes_are_read_or_end_in_one_line(contents: bytes, folder: Path):
    (folder / "dataset.yaml").write_text("kind: text\n")
    (folder / "mine.csv").write_bytes(contents)
    try:
        assert all(entry.text or entry.problem for entry in built(folder))
    except DarkroomError as error:
        assert "\n" not in str(error) and "\r" not in str(error)


def test_other_columns_are_kept_and_can_be_slices(folder: Path):
    (folder / "mine.csv").write_text(
        "text,label,Site,group,note\nWhere?,arrival,a,g," + "x" * 101 + "\nLost,lost,b,,\n"
    )
    assert texts.columns(descriptions.load("mine")) == ["group", "Site", "note"]
    assert [entry.columns for entry in built(folder)] == [{"Site": "a"}, {"Site": "b", "note": ""}]
