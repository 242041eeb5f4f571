import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.core.spelling import counted
from tests.datasets.image_folder import FOLDER, build, error_message, rows, summary, write_image, write_images

pytestmark = pytest.mark.usefixtures("folder")


def test_each_sub_folder_is_a_class_with_files_at_any_depth():
    write_images("dog/b.png", "dog/deeper/a.png", "cat/c.png")
    (FOLDER / "dog" / ".hidden").write_text("hidden")
    assert rows() == [("cat/c.png", "cat", ""), ("dog/b.png", "dog", ""), ("dog/deeper/a.png", "dog", "")]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("TRAINING", "validation", "testing"),
        ("training_set", "dev", "test_set"),
        ("train2017", "val2017", "test2017"),
    ],
)
def test_split_folders_are_recognised_in_the_usual_spellings(train: str, val: str, test: str):
    write_images(f"{train}/dog/1.png", f"{train}/cat/1.png", f"{test}/dog/1.png", f"{val}/cat/1.png")
    assert sorted((split, label) for _, label, split in rows()) == [
        ("test", "dog"),
        ("train", "cat"),
        ("train", "dog"),
        ("val", "cat"),
    ]
    assert all(Path(FOLDER, path).is_file() for path, _, _ in rows())


@pytest.mark.parametrize(
    "litter",
    [
        "__MACOSX/._1.png",
        "@eaDir/1.png",
        "Thumbs.db",
        "THUMBS.DB",
        ".DS_Store",
        "desktop.ini",
        "Icon\r",
        "#recycle/1.png",
    ],
)
@pytest.mark.parametrize("place", ["", "train/", "train/cat/"])
def test_litter_of_archives_and_disks_is_ignored(litter: str, place: str):
    write_images("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")
    write_image(place + litter)
    assert [split for _, _, split in rows()] == ["test", "test", "train", "train"]
    assert [int(number) for number in re.findall(r"\d+", summary())] == [4, 2]


def test_an_empty_folder_is_ignored():
    write_images("train/cat/1.png", "train/dog/1.png", "test/cat/1.png")
    (FOLDER / "notes/deeper").mkdir(parents=True)
    (FOLDER / "train/empty").mkdir()
    assert [split for _, _, split in rows()] == ["test", "train", "train"]


@pytest.mark.parametrize("odd", ["notes/readme.txt", "sample/1.png", "cat/1.png", "unlabelled2/deep/1.png"])
@pytest.mark.parametrize("splits", [["train"], ["train", "test"], ["Training", "validation", "Test"]])
def test_split_folders_beside_another_folder_are_an_error(odd: str, splits: list[str]):
    write_images(*(f"{split}/{label}/1.png" for split in splits for label in ("cat", "dog")), odd)
    assert repr(odd.split("/")[0]) in error_message()


@pytest.mark.parametrize("name", ["unlabelled", "Unlabeled", "UNLABELLED"])
def test_a_folder_of_unlabelled_images_may_stand_beside_classes_or_splits(name: str):
    write_images("cat/1.png", "dog/1.png", f"{name}/1.png", f"{name}/test/deep/2.png")
    unlabelled = [(f"{name}/1.png", "", "unlabelled"), (f"{name}/test/deep/2.png", "", "unlabelled")]
    assert sorted(rows()) == sorted([("cat/1.png", "cat", ""), ("dog/1.png", "dog", ""), *unlabelled])
    assert "2 unlabelled images" in summary()
    for label in ("cat", "dog"):
        (FOLDER / label).rename(FOLDER / f"{label}s")
        write_image(f"train/{label}/1.png"), os.rename(FOLDER / f"{label}s", FOLDER / "train" / f"{label}s")
    write_image("train/unlabelled/3.png")
    splits = {path: (label, split) for path, label, split in rows()}
    assert splits["train/unlabelled/3.png"] == splits[f"{name}/1.png"] == ("", "unlabelled")
    assert splits["train/cat/1.png"] == ("cat", "train")


def test_the_description_may_list_unlabelled_as_a_class():
    write_images("cat/1.png", "unlabelled/1.png")
    (FOLDER / "dataset.yaml").write_text("classes: [cat, unlabelled]")
    assert rows() == [("cat/1.png", "cat", ""), ("unlabelled/1.png", "unlabelled", "")]


def test_validation_and_test_images_need_a_label():
    write_images("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/unlabelled/1.png")
    assert "test/unlabelled" in error_message()


def test_an_empty_folder_of_unlabelled_images_is_named():
    write_images("cat/1.png", "dog/1.png")
    (FOLDER / "Unlabelled" / "deep").mkdir(parents=True)
    assert "Unlabelled/ is empty" in summary()


@pytest.mark.parametrize("paths", [["unlabelled/1.png"], ["unlabelled/1.png", "cat/1.png"]])
def test_classes_may_have_unlabelled_images_only_if_the_description_lists_them(paths: list[str]):
    write_images(*paths)
    message = error_message()
    assert "classes: [" in message and "dataset.yaml" in message
    (FOLDER / "dataset.yaml").write_text("classes: [cat]")
    assert "only one class" in error_message()
    (FOLDER / "dataset.yaml").write_text("classes: [dog, cat]")
    assert summary().startswith(f"{counted(len(paths) - 1, 'image')} of 2 classes and 1 unlabelled image")
    assert json.loads(Path("data/raw/dataset.json").read_text())["classes"] == ["dog", "cat"]


def test_classes_that_look_like_splits_are_accepted_if_the_description_lists_them():
    write_images("train/steam/1.png", "test/1.png", "car/1.png")
    assert "'car'" in error_message()
    (FOLDER / "dataset.yaml").write_text("classes: [car, test, train]")
    assert rows() == [("car/1.png", "car", ""), ("test/1.png", "test", ""), ("train/steam/1.png", "train", "")]


@pytest.mark.parametrize("names", [("car", "train"), ("invalid", "valid")])
def test_words_that_also_name_classes_are_classes_if_images_are_directly_in_them(names: tuple[str, str]):
    write_images(*(f"{name}/1.png" for name in names))
    assert rows() == [(f"{name}/1.png", name, "") for name in names]


@pytest.mark.parametrize(
    ("paths", "fact"),
    [
        (["cat/1.png", "dog/1.png", "test/1.png"], "'test'"),  # images without labels
        (["train/1.png", "test1/1.png"], "no class folders"),
        (["train/1.png", "test/1.png"], "no class folders"),
        (["train/1.png", "test/cat/1.png", "test/dog/1.png"], "train"),
        (["test/cat/1.png", "test/dog/1.png", "val/cat/1.png"], "train"),
        (["train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "valid/dog/1.png"], "val and valid"),
        (["train/train/cat/1.png", "train/train/dog/1.png", "test/test/cat/1.png"], "test/test has"),
        (["cat/train/1.png", "cat/test/1.png", "dog/train/1.png", "dog/test/1.png"], "cat/test"),
    ],
)
def test_splits_that_cannot_be_read_are_an_error(paths: list[str], fact: str):
    write_images(*paths)
    assert fact in error_message()


def test_files_outside_of_the_class_folders_are_counted():
    write_images("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/a.png", "test/b.png", "beside.png")
    (FOLDER / "dataset.yaml").write_text("title: Pets")
    assert [split for _, _, split in rows()] == ["test", "train", "train"]
    assert re.search(r"\b3 files\b.*'beside.png'", summary())


def test_labels_given_by_hand_are_no_unused_file():
    write_images("cat/1.png", "dog/1.png")
    (FOLDER / "labels.csv").write_text("id,label,by,at\n")
    assert len(rows()) == 2 and "labels.csv" not in summary()


def test_files_beside_the_classes_are_counted():
    write_images("cat/1.png", "dog/1.png", "1.png")
    assert re.search(r"\b1 file\b.*'1.png'", summary())
    (FOLDER / "1.png").unlink()
    assert re.findall(r"\d+", summary()) == ["2", "2"]


@pytest.mark.parametrize("place", ["", "train/"])
def test_a_class_that_is_a_link_out_of_the_folder_is_an_error(place: str):
    write_images(f"{place}a/1.png", f"{place}c/1.png")
    (FOLDER / place / "b").symlink_to("/", target_is_directory=True)
    assert f"mine/{place}b is a link out of" in error_message()


@pytest.mark.parametrize("place", ["", "train/"])
def test_a_class_that_is_a_link_within_the_folder_is_followed(place: str):
    write_images(f"{place}a/1.png", ".pool/1.png")
    (FOLDER / place / "b").symlink_to((FOLDER / ".pool").absolute(), target_is_directory=True)
    assert [label for _, label, _ in rows()] == ["a", "b"]


def test_an_unreadable_folder_is_an_error(monkeypatch: pytest.MonkeyPatch):
    write_images("a/1.png", "a/deep/2.png", "b/1.png")
    list_folder = os.scandir

    def scandir(folder: str) -> Iterator[os.DirEntry]:
        if str(folder).endswith("deep"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "data/datasets/mine/a/deep cannot be read (Permission denied)" in error_message()


@pytest.mark.parametrize(
    ("files", "fact"),
    [
        ([], "no images: add one sub-folder per class"),
        (["beside.png"], "a sub-folder unlabelled with images to label"),
        (["a/1.png"], "only one class, 'a'"),
        (["a/1.png", "A/1.png"], "'A' and 'a' differ only in case"),
        (["e\u0301/1.png", "\u00e9/1.png"], "Unicode form"),
        (["disc/1.png", "disc /1.png"], "'disc' and 'disc '"),
        (["hot dog/1.png", "hot  dog/1.png"], "'hot  dog' and 'hot dog'"),
        (["7/1.png", "07/1.png"], "'07' and '7'"),
        (["train/Cat/1.png", "train/dog/1.png", "test/cat/1.png"], "'Cat' and 'cat'"),
    ],
)
def test_a_folder_without_distinct_classes_is_an_error(files: list[str], fact: str):
    write_images(*files)
    assert fact in error_message()


def test_numbers_that_differ_are_distinct_classes():
    names = ["0", "1", "10", "1.5", "-1", "12345678901234567890123456789012345678", "1e999999999", "nan", "inf"]
    write_images(*(f"{name}/1.png" for name in names), "12345678901234567890123456789012345679/1.png")
    assert len(build()) == len(names) + 1


def test_beside_unlabelled_images_no_split_needs_to_be_for_training():
    write_images("test/cat/1.png", "test/dog/1.png")
    assert "no folder train" in error_message()
    write_images("unlabelled/1.png")
    assert [split for _, _, split in rows()] == ["test", "test", "unlabelled"]
