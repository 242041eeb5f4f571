import csv
import errno
import io
import json
import os
from collections.abc import Iterator
from dataclasses import astuple, fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, index

FOLDER = Path("data/datasets/mine")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir(parents=True)


def picture(path: str, value: int = 0, size: tuple[int, int] = (3, 2)) -> Path:
    """Writes a grey PNG of one colour into the dataset's folder."""
    file = FOLDER / path
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(file, "PNG")
    return file


def manifest(*rows: dict, name: str = "manifest.csv") -> None:
    if name.endswith("jsonl"):
        (FOLDER / name).write_text("\n".join(json.dumps(row) for row in rows))
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    (FOLDER / name).write_text(text.getvalue(), newline="")


def build() -> list[index.Entry]:
    index.build(descriptions.load("mine"), "data/raw")
    return list(index.read("data/raw"))


def rows() -> list[tuple[str, str, str]]:
    return [(entry.path, entry.label, entry.split) for entry in build()]


def refusal() -> str:
    """What the user reads; checks that what was there stays."""
    Path("data/raw").mkdir()
    Path("data/raw/earlier").write_text("kept")
    with pytest.raises(DarkroomError) as caught:
        index.build(descriptions.load("mine"), "data/raw")
    assert [path.name for path in Path("data/raw").iterdir()] == ["earlier"]
    return str(caught.value)


def test_a_sub_folder_is_a_class_in_any_depth():
    for path in ("dog/b.png", "dog/deeper/a.png", "cat/c.png"):
        picture(path)
    (FOLDER / "README.txt").write_text("beside the classes")
    (FOLDER / "dog" / ".DS_Store").write_text("hidden")
    assert rows() == [("cat/c.png", "cat", ""), ("dog/b.png", "dog", ""), ("dog/deeper/a.png", "dog", "")]
    assert json.loads(Path("data/raw/dataset.json").read_text())["classes"] == ["cat", "dog"]


def test_the_official_split_is_kept():
    for path in ("train/dog/1.png", "train/cat/1.png", "test/dog/1.png", "val/cat/1.png"):
        picture(path)
    given = [("test", "dog"), ("train", "cat"), ("train", "dog"), ("val", "cat")]
    assert rows() == [(f"{split}/{label}/1.png", label, split) for split, label in given]


def test_train_beside_other_folders_is_a_class():
    for path in ("train/1.png", "car/1.png"):
        picture(path)
    assert rows() == [("car/1.png", "car", ""), ("train/1.png", "train", "")]


@pytest.mark.parametrize("name", index.MANIFESTS)
def test_a_manifest_names_path_label_split_and_group(name: str):
    for path in ("a.png", "deep/b, c\n.png", "not named.png"):
        picture(path)
    manifest(
        {"label": "one", "path": "a.png", "split": "test", "group": "Ann", "more": 1},
        {"label": "2", "path": "deep/b, c\n.png", "split": ""},
        name=name,
    )
    assert [(entry.path, entry.label, entry.split, entry.group) for entry in build()] == [
        ("a.png", "one", "test", "Ann"),
        ("deep/b, c\n.png", "2", "", ""),
    ]


def test_an_entry_tells_what_the_file_is():
    picture("a/1.png", size=(3, 2))
    picture("b/1.png", 7)
    first, second = build()
    assert (first.format, first.width, first.height, first.channels, first.problem) == ("PNG", 3, 2, 1, "")
    assert first.bytes == (FOLDER / "a/1.png").stat().st_size
    assert first.blake2b != second.blake2b and len(first.blake2b) == 32


def test_every_change_of_the_folder_changes_the_index():
    seen = set()

    def look() -> None:
        build()
        seen.add(Path("data/raw/index.csv").read_bytes())

    picture("a/1.png"), picture("b/1.png")
    look()
    picture("b/1.png", 9)
    look()
    picture("b/2.png", 9)
    look()
    (FOLDER / "b/1.png").unlink()
    look()
    (FOLDER / "b/2.png").rename(FOLDER / "a/2.png")
    picture("b/3.png", 9)
    look()
    assert len(seen) == 5
    look()
    assert len(seen) == 5


def test_a_bad_file_costs_that_file():
    for path in ("a/1.png", "b/1.png"):
        picture(path)
    (FOLDER / "a/empty.jpg").touch()
    (FOLDER / "a/notes.txt").write_text("no picture")
    (FOLDER / "a/leads out.png").symlink_to(Path("elsewhere.png").absolute())
    Path("elsewhere.png").write_bytes((FOLDER / "a/1.png").read_bytes())
    (FOLDER / "a/nowhere.png").symlink_to("gone.png")
    (FOLDER / "a/circle.png").symlink_to("circle.png")
    (FOLDER / "a/inside.png").symlink_to("1.png")
    (FOLDER / "a/folder.png").symlink_to(Path("data"), target_is_directory=True)
    os.mkfifo(FOLDER / "a/pipe.png")
    problems = {entry.path: entry.problem for entry in build()}
    assert [path for path, problem in problems.items() if not problem] == ["a/1.png", "a/inside.png", "b/1.png"]
    assert problems["a/leads out.png"] == "it is a link that leads out of the dataset's folder"
    assert problems["a/nowhere.png"] == "it is missing, or a link that leads nowhere"
    assert problems["a/pipe.png"] == "it is no file"
    assert index.build(descriptions.load("mine"), "data/raw") == "10 pictures of 2 classes, 7 of them unusable"


def test_a_class_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path):
    picture("a/1.png")
    (FOLDER / "b").symlink_to("/", target_is_directory=True)
    assert "mine/b is a link that leads out of the dataset's folder: copy" in refusal()


def test_links_into_the_cache_of_dvc_are_followed():
    for path in ("a/1.png", "b/1.png"):
        picture(path)
    Path(".dvc/cache/files").mkdir(parents=True)
    (FOLDER / "a/1.png").rename(".dvc/cache/files/1234")
    (FOLDER / "a/1.png").symlink_to(Path(".dvc/cache/files/1234").absolute())
    assert [entry.problem for entry in build()] == ["", ""]


def test_a_file_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch):
    picture("a/1.png"), picture("b/1.png")
    monkeypatch.setattr(index, "MAX_BYTES", 10)
    assert "bytes, more than 10" in build()[0].problem


def test_files_that_this_user_may_not_read_cost_those_files(monkeypatch: pytest.MonkeyPatch):
    for path in ("a/1.png", "a/2.png", "b/1.png"):
        picture(path)
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "2.png":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert [entry.problem for entry in build()] == ["", "it cannot be read (Permission denied)", ""]


def test_a_folder_that_this_user_may_not_read_stops_it(monkeypatch: pytest.MonkeyPatch):
    for path in ("a/1.png", "a/deep/2.png", "b/1.png"):
        picture(path)
    list_folder = os.scandir

    def scandir(folder: str) -> Iterator[os.DirEntry]:
        if str(folder).endswith("deep"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert (
        refusal()
        == "data/datasets/mine/a/deep cannot be read (Permission denied): let this user read it, or take it out of the dataset's folder."
    )


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_no_table_can_hold_costs_that_file():
    picture("a/1.png"), picture("b/1.png"), picture("b/\r.png")
    Path(os.fsdecode(os.fsencode(FOLDER / "a") + b"/\xff.png")).write_bytes(b"")
    assert [
        entry.path for entry in build() if entry.problem == "its name is no Unicode, or has a carriage return in it"
    ] == ["a/\\udcff.png", "b/\\r.png"]


NAMES = st.text(st.characters(exclude_characters="/\0\r", exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_any_name_comes_back(names: list[str]):
    named = [index.Entry(name, name, "", "", 1, "0", "PNG", 1, 1, 1, "") for name in names]
    with open("index.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([[field.name for field in fields(index.Entry)], *(astuple(entry) for entry in named)])
    assert list(index.read(".")) == named


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "holds no pictures: put a sub-folder a class into it"),
        (["beside.png"], "holds no pictures"),
        (["a/1.png"], "holds the one class 'a'"),
        (["a/1.png", "A/1.png"], "the classes 'A' and 'a' differ by case or spelling only"),
        (["e\u0301/1.png", "\u00e9/1.png"], "differ by case or spelling only"),
    ],
)
def test_a_folder_that_cannot_be_learnt_from_is_refused(files: list[str], sentence: str):
    for path in files:
        picture(path)
    assert sentence in refusal()


def test_classes_must_be_those_of_the_description():
    picture("a/1.png"), picture("b/1.png")
    (FOLDER / "dataset.yaml").write_text("classes: [b, a]")
    build()
    assert json.loads(Path("data/raw/dataset.json").read_text())["classes"] == ["b", "a"]


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ("[a, c]", "holds the class 'b', but dataset.yaml names a, c: add it there"),
        ("[a, b, c]", "holds no picture of the class 'c' that dataset.yaml names"),
    ],
)
def test_classes_that_do_not_fit_the_description_are_refused(classes: str, sentence: str):
    picture("a/1.png"), picture("b/1.png")
    (FOLDER / "dataset.yaml").write_text(f"classes: {classes}")
    assert sentence in refusal()


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("manifest.csv", "path,class\na.png,x\n", "manifest.csv cannot be read (it has no column label)"),
        ("manifest.csv", "", "it has no column label and no column path"),
        ("manifest.csv", "path,label\na.png,x\nb.png,\n", "manifest.csv, row 2 has no label"),
        ("manifest.csv", "path,label\na.png,x\na.png,y\n", "row 2 names 'a.png', as row 1 does"),
        ("manifest.csv", "path,label\na.png,x\n./a.png,y\n", "row 2 names './a.png', as row 1 does"),
        (
            "manifest.csv",
            "path,label,split\na.png,x,dev\n",
            "row 1 has the split 'dev': it must be train, val, test or empty",
        ),
        ("manifest.csv", "path,label\n../a.png,x\n", "row 1 has the path '../a.png': it must lie in the folder"),
        ("manifest.csv", "path,label\n/etc/passwd,x\n", "row 1 has the path '/etc/passwd'"),
        ("manifest.csv", b"path,label\n\xff\xfe,x\n", "manifest.csv cannot be read ("),
        ("manifest.jsonl", '{"path": "a.png"', "manifest.jsonl cannot be read ("),
        ("manifest.jsonl", "[1]", "manifest.jsonl cannot be read (row 1 is no object)"),
        ("manifest.jsonl", '{"path": "a.png", "label": null}', "row 1 has no label"),
    ],
)
def test_a_mistake_in_a_manifest_is_named(name: str, text: str | bytes, sentence: str):
    (FOLDER / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert sentence in refusal()


def test_a_file_missing_from_a_manifest_costs_that_file():
    picture("a.png"), picture("b.png")
    manifest(*({"path": f"{name}.png", "label": name} for name in "abc"))
    assert [entry.problem for entry in build()] == ["", "", "it is missing, or a link that leads nowhere"]


@pytest.mark.parametrize("splits", [("train", "test"), ("", "test"), ("val", "")])
def test_a_group_on_both_sides_of_a_split_is_refused(splits: tuple[str, str]):
    manifest(*({"path": f"{split}.png", "label": split or "none", "split": split, "group": "Ann"} for split in splits))
    assert "the group 'Ann' is in" in refusal()


def test_two_manifests_are_refused():
    for name in index.MANIFESTS:
        manifest({"path": "a.png", "label": "a"}, name=name)
    assert "holds both manifest.csv and manifest.jsonl" in refusal()


def test_a_broken_index_says_how_to_make_it_anew(tmp_path: Path):
    with pytest.raises(DarkroomError, match="dvc repro --force fetch"):
        list(index.read(tmp_path))
    (tmp_path / "index.csv").write_text("path,label\na,b\n")
    with pytest.raises(DarkroomError, match="dvc repro --force fetch"):
        list(index.read(tmp_path))
