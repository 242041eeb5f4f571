import csv
import errno
import io
import json
import os
import re
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
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir(parents=True)


def write_image(path: str, value: int = 0, size: tuple[int, int] = (3, 2)) -> Path:
    """Write a grey PNG of one value to the dataset's folder."""
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


def error_message() -> str:
    """The error message of `index.build`; checks that earlier raw files are kept."""
    Path("data/raw").mkdir()
    Path("data/raw/earlier").write_text("kept")
    with pytest.raises(DarkroomError) as caught:
        index.build(descriptions.load("mine"), "data/raw")
    assert [path.name for path in Path("data/raw").iterdir()] == ["earlier"]
    return str(caught.value)


def test_each_sub_folder_is_a_class_with_files_at_any_depth():
    for path in ("dog/b.png", "dog/deeper/a.png", "cat/c.png"):
        write_image(path)
    (FOLDER / "README.txt").write_text("beside the classes")
    (FOLDER / "dog" / ".DS_Store").write_text("hidden")
    assert rows() == [("cat/c.png", "cat", ""), ("dog/b.png", "dog", ""), ("dog/deeper/a.png", "dog", "")]
    assert json.loads(Path("data/raw/dataset.json").read_text())["classes"] == ["cat", "dog"]


def test_the_folders_train_val_and_test_are_splits():
    for path in ("train/dog/1.png", "train/cat/1.png", "test/dog/1.png", "val/cat/1.png"):
        write_image(path)
    given = [("test", "dog"), ("train", "cat"), ("train", "dog"), ("val", "cat")]
    assert rows() == [(f"{split}/{label}/1.png", label, split) for split, label in given]


def test_train_beside_other_folders_is_a_class():
    for path in ("train/1.png", "car/1.png"):
        write_image(path)
    assert rows() == [("car/1.png", "car", ""), ("train/1.png", "train", "")]


@pytest.mark.parametrize("name", index.MANIFESTS)
def test_a_manifest_names_path_label_split_and_group(name: str):
    for path in ("a.png", "deep/b, c\n.png", "not listed.png"):
        write_image(path)
    manifest(
        {"label": "one", "path": "a.png", "split": "test", "group": "Ann", "more": 1},
        {"label": "2", "path": "deep/b, c\n.png", "split": ""},
        name=name,
    )
    assert [(entry.path, entry.label, entry.split, entry.group) for entry in build()] == [
        ("a.png", "one", "test", "Ann"),
        ("deep/b, c\n.png", "2", "", ""),
    ]


def test_an_entry_describes_the_file():
    write_image("a/1.png", size=(3, 2))
    write_image("b/1.png", 7)
    first, second = build()
    assert (first.format, first.width, first.height, first.channels, first.problem) == ("PNG", 3, 2, 1, "")
    assert first.bytes == (FOLDER / "a/1.png").stat().st_size
    assert first.blake2b != second.blake2b and len(first.blake2b) == 32


def test_every_change_of_the_folder_changes_the_index():
    seen = set()

    def build_again() -> None:
        build()
        seen.add(Path("data/raw/index.csv").read_bytes())

    write_image("a/1.png"), write_image("b/1.png")
    build_again()
    write_image("b/1.png", 9)
    build_again()
    write_image("b/2.png", 9)
    build_again()
    (FOLDER / "b/1.png").unlink()
    build_again()
    (FOLDER / "b/2.png").rename(FOLDER / "a/2.png")
    write_image("b/3.png", 9)
    build_again()
    assert len(seen) == 5
    build_again()
    assert len(seen) == 5


def test_an_unusable_file_is_marked_and_the_others_are_kept():
    for path in ("a/1.png", "b/1.png"):
        write_image(path)
    (FOLDER / "a/empty.jpg").touch()
    (FOLDER / "a/notes.txt").write_text("not an image")
    (FOLDER / "a/leads out.png").symlink_to(Path("elsewhere.png").absolute())
    Path("elsewhere.png").write_bytes((FOLDER / "a/1.png").read_bytes())
    (FOLDER / "a/nowhere.png").symlink_to("gone.png")
    (FOLDER / "a/circle.png").symlink_to("circle.png")
    (FOLDER / "a/inside.png").symlink_to("1.png")
    (FOLDER / "a/folder.png").symlink_to(Path("data").absolute(), target_is_directory=True)
    os.mkfifo(FOLDER / "a/pipe.png")
    problems = {entry.path: entry.problem for entry in build()}
    assert [path for path, problem in problems.items() if not problem] == ["a/1.png", "a/inside.png", "b/1.png"]
    assert "link out of" in problems["a/leads out.png"] and "link out of" in problems["a/folder.png"]
    assert "broken link" in problems["a/nowhere.png"]
    assert "not a regular file" in problems["a/pipe.png"]
    summary = index.build(descriptions.load("mine"), "data/raw")
    assert [int(number) for number in re.findall(r"\d+", summary)] == [10, 2, 7]


def test_a_class_that_is_a_link_out_of_the_folder_is_an_error(tmp_path: Path):
    write_image("a/1.png")
    (FOLDER / "b").symlink_to("/", target_is_directory=True)
    assert "mine/b is a link out of" in error_message()


def test_links_into_the_dvc_cache_are_followed():
    for path in ("a/1.png", "b/1.png"):
        write_image(path)
    Path(".dvc/cache/files").mkdir(parents=True)
    (FOLDER / "a/1.png").rename(".dvc/cache/files/1234")
    (FOLDER / "a/1.png").symlink_to(Path(".dvc/cache/files/1234").absolute())
    assert [entry.problem for entry in build()] == ["", ""]


def test_a_file_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch):
    write_image("a/1.png"), write_image("b/1.png")
    monkeypatch.setattr(index, "MAX_BYTES", 10)
    assert "bytes, more than 10" in build()[0].problem


def test_an_unreadable_file_is_marked(monkeypatch: pytest.MonkeyPatch):
    for path in ("a/1.png", "a/2.png", "b/1.png"):
        write_image(path)
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "2.png":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert [entry.problem for entry in build()] == ["", "it cannot be read (Permission denied)", ""]


def test_an_unreadable_folder_is_an_error(monkeypatch: pytest.MonkeyPatch):
    for path in ("a/1.png", "a/deep/2.png", "b/1.png"):
        write_image(path)
    list_folder = os.scandir

    def scandir(folder: str) -> Iterator[os.DirEntry]:
        if str(folder).endswith("deep"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "data/datasets/mine/a/deep cannot be read (Permission denied)" in error_message()


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_file_name_that_a_table_cannot_hold_is_marked():
    write_image("a/1.png"), write_image("b/1.png"), write_image("b/\r.png")
    Path(os.fsdecode(os.fsencode(FOLDER / "a") + b"/\xff.png")).write_bytes(b"")
    problems = {entry.path: entry.problem for entry in build() if entry.problem}
    assert list(problems) == ["a/\\udcff.png", "b/\\r.png"]
    assert all("its name" in problem and "Unicode" in problem for problem in problems.values())


NAMES = st.text(st.characters(exclude_characters="/\0\r", exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_every_name_is_read_back(names: list[str]):
    entries = [index.Entry(name, name, "", "", 1, "0", "PNG", 1, 1, 1, "") for name in names]
    with open("index.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([[field.name for field in fields(index.Entry)], *(astuple(entry) for entry in entries)])
    assert list(index.read(".")) == entries


@pytest.mark.parametrize(
    ("files", "fact"),
    [
        ([], "no images: add one sub-folder per class"),
        (["beside.png"], "no images"),
        (["a/1.png"], "only one class, 'a'"),
        (["a/1.png", "A/1.png"], "'A' and 'a' differ only in case"),
        (["e\u0301/1.png", "\u00e9/1.png"], "differ only in case or Unicode form"),
    ],
)
def test_a_folder_without_distinct_classes_is_an_error(files: list[str], fact: str):
    for path in files:
        write_image(path)
    assert fact in error_message()


def test_the_description_orders_the_classes():
    write_image("a/1.png"), write_image("b/1.png")
    (FOLDER / "dataset.yaml").write_text("classes: [b, a]")
    build()
    assert json.loads(Path("data/raw/dataset.json").read_text())["classes"] == ["b", "a"]


@pytest.mark.parametrize(
    ("classes", "fact"),
    [
        ("[a, c]", "has the class 'b', but dataset.yaml lists a, c"),
        ("[a, b, c]", "no images of the class 'c'"),
    ],
)
def test_classes_that_differ_from_the_description_are_an_error(classes: str, fact: str):
    write_image("a/1.png"), write_image("b/1.png")
    (FOLDER / "dataset.yaml").write_text(f"classes: {classes}")
    assert fact in error_message()


@pytest.mark.parametrize(
    ("name", "text", "fact"),
    [
        ("manifest.csv", "path,class\na.png,x\n", "manifest.csv cannot be read (missing columns: label)"),
        ("manifest.csv", "", "missing columns: label, path"),
        ("manifest.csv", "path,label\na.png,x\nb.png,\n", "manifest.csv, row 2 has no label"),
        ("manifest.csv", "path,label\na.png,x\na.png,y\n", "row 2 has the same path 'a.png' as row 1"),
        ("manifest.csv", "path,label\na.png,x\n./a.png,y\n", "row 2 has the same path './a.png' as row 1"),
        ("manifest.csv", "path,label,split\na.png,x,dev\n", "row 1 has the split 'dev'"),
        ("manifest.csv", "path,label\n../a.png,x\n", "row 1 has the path '../a.png'"),
        ("manifest.csv", "path,label\n/etc/passwd,x\n", "row 1 has the path '/etc/passwd'"),
        ("manifest.csv", b"path,label\n\xff\xfe,x\n", "manifest.csv cannot be read ("),
        ("manifest.jsonl", '{"path": "a.png"', "manifest.jsonl cannot be read ("),
        ("manifest.jsonl", "[1]", "manifest.jsonl cannot be read (row 1 is not an object)"),
        ("manifest.jsonl", '{"path": "a.png", "label": null}', "row 1 has no label"),
    ],
)
def test_an_error_in_a_manifest_is_named(name: str, text: str | bytes, fact: str):
    (FOLDER / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert fact in error_message()


def test_a_listed_file_that_is_missing_is_marked():
    write_image("a.png"), write_image("b.png")
    manifest(*({"path": f"{name}.png", "label": name} for name in "abc"))
    first, second, third = (entry.problem for entry in build())
    assert (first, second) == ("", "") and "missing" in third


@pytest.mark.parametrize("splits", [("train", "test"), ("", "test"), ("val", "")])
def test_a_group_in_two_splits_is_an_error(splits: tuple[str, str]):
    manifest(*({"path": f"{split}.png", "label": split or "none", "split": split, "group": "Ann"} for split in splits))
    assert "the group 'Ann' is in" in error_message()


def test_two_manifests_are_an_error():
    for name in index.MANIFESTS:
        manifest({"path": "a.png", "label": "a"}, name=name)
    assert "both manifest.csv and manifest.jsonl" in error_message()


def test_an_invalid_index_is_an_error(tmp_path: Path):
    with pytest.raises(DarkroomError, match="dvc repro --force fetch"):
        list(index.read(tmp_path))
    (tmp_path / "index.csv").write_text("path,label\na,b\n")
    with pytest.raises(DarkroomError, match="dvc repro --force fetch"):
        list(index.read(tmp_path))
