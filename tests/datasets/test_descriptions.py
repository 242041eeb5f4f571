from pathlib import Path

import pytest

from darkroom.core.arrays import Augmentation
from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions
from darkroom.datasets.descriptions import ImageFolder
from tests import idx

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist", "kmnist", "qmnist", "emnist", "cifar10"])
def test_the_built_in_datasets_are_complete(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    dataset = descriptions.load(name)
    assert len(dataset.classes) == (47 if name == "emnist" else 10)
    assert dataset.augmentation.flip == (name in ("fashion_mnist", "cifar10"))
    assert dataset.mirrors and dataset.archives
    assert all(file.sha256 or dataset.archive_of(file).md5 for file in dataset.files)


def test_a_dataset_has_the_name_of_its_folder():
    idx.write_dataset("tiny", idx.description(idx.contents()))
    dataset = descriptions.load("tiny")
    assert (dataset.name, dataset.folder) == ("tiny", Path("data/datasets/tiny"))
    assert dataset.augmentation == Augmentation(flip=False, shift=1)
    assert dataset.classes == ("class 0", "class 1", "class 2")
    assert descriptions.parse(dataset.model_dump_json(), "a copy") == dataset


@pytest.mark.parametrize("name", ["tinny", "..", "tiny/../tiny", "/etc", ".", ""])
def test_an_unknown_dataset_is_an_error_that_lists_the_known_ones(name: str):
    for known in ("tiny", "other"):
        idx.write_dataset(known, idx.description(idx.contents()))
    Path("data/datasets/.hidden").mkdir()
    Path("data/datasets/file").touch()
    for check in (descriptions.require_known, descriptions.load):
        with pytest.raises(DarkroomError, match=r"data\.dataset = ") as caught:
            check(name)
        assert repr(name) in str(caught.value) and "other, tiny" in str(caught.value)
        assert ("did you mean tiny?" in str(caught.value)) == ("tin" in name)


def test_without_any_dataset_the_error_says_so():
    with pytest.raises(DarkroomError, match="data/datasets, which has none"):
        descriptions.load("mnist")


def test_a_folder_without_a_description_is_a_folder_of_images():
    Path("data/datasets/mine").mkdir(parents=True)
    mine = descriptions.load("mine")
    assert isinstance(mine, ImageFolder)
    assert (mine.name, mine.title, mine.format, mine.classes) == ("mine", "mine", "images", ())
    assert mine.augmentation == Augmentation(flip=False, shift=0)
    assert descriptions.parse(mine.model_dump_json(), "a copy") == mine


@pytest.mark.parametrize("format_key", [{}, {"format": "images"}])
def test_every_key_of_a_folder_of_images_is_optional(format_key: dict):
    values = {"licence": "CC0", "classes": ["b", "a"], "augmentation": {"flip": True, "shift": 2}, **format_key}
    idx.write_dataset("mine", values)
    mine = descriptions.load("mine")
    assert isinstance(mine, ImageFolder)
    assert (mine.title, mine.licence, mine.classes, mine.augmentation.flip) == ("mine", "CC0", ("b", "a"), True)


def test_classes_are_read_as_dvc_reads_names():
    (idx.write_dataset("mine", {}) / "dataset.yaml").write_text("classes: [yes, no, on, 1:30, '007', 2026-01-01]")
    assert descriptions.load("mine").classes == ("yes", "no", "on", "1:30", "007", "2026-01-01")


@pytest.mark.parametrize("name", ["007", "1e3", "0", "true", "null"])
def test_a_class_that_yaml_does_not_read_as_text_must_be_quoted(name: str):
    path = idx.write_dataset("mine", {}) / "dataset.yaml"
    path.write_text(f"classes: [cat, {name}]")
    with pytest.raises(DarkroomError, match=r"classes\.1 = .*in quotes"):
        descriptions.load("mine")
    path.write_text(f"classes: [cat, '{name}']")
    assert descriptions.load("mine").classes == ("cat", name)


@pytest.mark.parametrize("text", [b"title: [", b"\xff\xfe\x00", b"title: \x07", b"title: 2026-13-01"])
def test_a_description_that_is_not_yaml_is_an_error(text: bytes):
    (idx.write_dataset("tiny", {}) / "dataset.yaml").write_bytes(text)
    with pytest.raises(DarkroomError, match=r"tiny/dataset\.yaml cannot be read .*git checkout"):
        descriptions.load("tiny")


def test_a_description_without_keys_is_an_error():
    (idx.write_dataset("tiny", {}) / "dataset.yaml").write_text("just text")
    with pytest.raises(DarkroomError, match=r"tiny/dataset\.yaml .*'just text'"):
        descriptions.load("tiny")


FILES = idx.description(idx.contents())["files"]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"title": 3}, "title = 3: must be text"),
        ({"licence": ""}, "licence = ''"),
        ({"colour": "red"}, "colour is not a key"),
        ({"kind": "tabel"}, "kind = 'tabel': must be one of text, table, history"),
        ({"kind": ["text"]}, "kind = ['text']: must be one of text, table, history"),
        ({"classes": ["one"]}, "classes: must have at least 2 items"),
        ({"classes": ["one", 2]}, "classes.1 = 2: must be text"),
        ({"classes": ["one", "one"]}, "duplicates, but contains 'one'"),
        ({"augmentation": {"flip": "yes", "shift": 1}}, "augmentation.flip = 'yes'"),
        ({"augmentation": {"flip": True}}, "augmentation.shift is missing"),
        ({"augmentation": {"flip": True, "shift": -1}}, "augmentation.shift = -1"),
        ({"format": "pickle"}, "format = 'pickle': must be one of images, idx, cifar_binary"),
        ({"format": ["idx"]}, "format = ['idx']"),
        ({"format": "cifar_binary"}, "roles train, test"),
        ({"format": "images"}, "files is not a key"),
        ({"files": FILES[:3]}, "roles train_images"),
        ({"files": [*FILES[:3], {**FILES[3], "role": "test_images"}]}, "roles train_images"),
        ({"files": [*FILES[:3], {**FILES[3], "name": FILES[0]["name"]}]}, "contains 'train-images-idx3-ubyte'"),
        ({"files": [*FILES[:3], {**FILES[3], "name": "../labels"}]}, "files.3.name = '../labels'"),
        ({"files": [*FILES[:3], {**FILES[3], "sha256": "abc"}]}, "files.3.sha256 = 'abc'"),
        ({"files": [*FILES[:3], {**FILES[3], "sha256": None}]}, "t10k-labels-idx1-ubyte needs a sha256"),
        ({"archives": [{"name": "all.zip"}]}, "all.zip needs an md5"),
        ({"mirrors": ["ftp://example.org/"]}, "mirrors.0 = 'ftp://example.org/'"),
        ({"debian": {"package": "--help", "folder": "usr"}}, "debian.package = '--help'"),
        ({"debian": {"package": "tiny", "folder": "../usr"}}, "debian.folder = '../usr'"),
    ],
)
def test_an_error_in_a_description_is_named(change: dict, fact: str):
    idx.write_dataset("tiny", {**idx.description(idx.contents()), **change})
    with pytest.raises(DarkroomError) as caught:
        descriptions.load("tiny")
    assert fact in str(caught.value)
    assert str(caught.value).startswith("data/datasets/tiny/dataset.yaml: ")
    assert "\n" not in str(caught.value)
