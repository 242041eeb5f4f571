import csv
import errno
import json
import os
import re
from dataclasses import astuple, fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.core.errors import DarkroomError
from darkroom.datasets import index
from tests.datasets.image_folder import FOLDER, build, error_message, summary, write_image
from tests.repository import dvc

pytestmark = pytest.mark.usefixtures("folder")


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
    assert [int(number) for number in re.findall(r"\d+", summary())] == [10, 2, 7]


@pytest.mark.parametrize("cache", [".dvc/cache", "../shared cache", "cache within"])
def test_links_of_dvc_add_are_followed_wherever_its_cache_is(cache: str, tmp_path: Path):
    write_image("a/1.png"), write_image("b/1.png", 9), write_image("b/link.png").unlink()
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    dvc(tmp_path, "config", "cache.type", "symlink")
    dvc(tmp_path, "cache", "dir", "--local", str((tmp_path / cache).resolve()))
    dvc(tmp_path, "add", "--quiet", str(FOLDER))
    assert (FOLDER / "a/1.png").readlink().is_relative_to((tmp_path / cache).resolve())
    Path("elsewhere.png").write_bytes((FOLDER / "a/1.png").read_bytes())
    (FOLDER / "b/link.png").symlink_to(Path("elsewhere.png").absolute())
    assert [bool(entry.problem) for entry in build()] == [False, False, True]


def test_without_a_dvc_repository_no_link_leads_out():
    write_image("a/1.png"), write_image("b/1.png")
    Path(".dvc/cache").mkdir(parents=True)
    (FOLDER / "a/1.png").rename(".dvc/cache/1234")
    (FOLDER / "a/1.png").symlink_to(Path(".dvc/cache/1234").absolute())
    (Path(".dvc") / "config").write_text("not a config")
    assert ["link out of" in entry.problem for entry in build()] == [True, False]


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
    entries = [index.Entry(name, name, "", "", "", 1, "0", "PNG", 1, 1, 1, 8, "", "") for name in names]
    with open("index.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([[field.name for field in fields(index.Entry)], *(astuple(entry) for entry in entries)])
    assert list(index.read(".")) == entries


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


def test_an_invalid_index_is_an_error(tmp_path: Path):
    with pytest.raises(DarkroomError, match="dvc repro --force fetch"):
        list(index.read(tmp_path))
    (tmp_path / "index.csv").write_text("path,label\na,b\n")
    with pytest.raises(DarkroomError, match="dvc repro --force fetch"):
        list(index.read(tmp_path))


def test_the_bits_of_each_image_are_listed_and_ignored_profiles_are_counted():
    write_image("a/1.png"), write_image("b/1.png")
    Image.new("I;16", (3, 2), 7).save(FOLDER / "a/2.png")
    Image.new("RGB", (3, 2)).save(FOLDER / "b/2.tif", icc_profile=b"no profile")
    assert summary().endswith("; 1 image: its colour profile is broken")
    assert [(entry.path, entry.bits, entry.remark) for entry in index.read("data/raw")] == [
        ("a/1.png", 8, ""),
        ("a/2.png", 16, ""),
        ("b/1.png", 8, ""),
        ("b/2.tif", 8, "its colour profile is broken"),
    ]
