from pathlib import Path

import pytest

from darkroom.core.arrays import Augmentation
from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions
from tests import idx

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist", "kmnist", "qmnist", "emnist", "cifar10"])
def test_the_built_in_datasets_are_whole(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    dataset = descriptions.load(name)
    assert len(dataset.classes) == (47 if name == "emnist" else 10)
    assert dataset.augmentation.flip == (name in ("fashion_mnist", "cifar10"))
    assert dataset.mirrors and dataset.archives
    assert all(file.sha256 or dataset.archive_of(file).md5 for file in dataset.files)


def test_a_description_takes_its_name_from_the_folder():
    idx.write_dataset("tiny", idx.description(idx.contents()))
    dataset = descriptions.load("tiny")
    assert (dataset.name, dataset.folder, dataset.augmentation) == (
        "tiny",
        Path("data/datasets/tiny"),
        Augmentation(flip=False, shift=1),
    )
    assert dataset.classes == ("class 0", "class 1", "class 2")
    assert descriptions.parse(dataset.model_dump_json(), "a copy") == dataset


@pytest.mark.parametrize("name", ["tinny", "..", "tiny/../tiny", "/etc", ".", ""])
def test_an_unknown_dataset_is_refused_with_those_known(name: str):
    for known in ("tiny", "other"):
        idx.write_dataset(known, idx.description(idx.contents()))
    Path("data/datasets/.hidden").mkdir()
    with pytest.raises(DarkroomError, match="known are other, tiny") as caught:
        descriptions.load(name)
    assert repr(name) in str(caught.value)
    assert ("did you mean tiny?" in str(caught.value)) == ("tin" in name)


def test_without_any_dataset_the_sentence_says_so():
    with pytest.raises(DarkroomError, match="known are none"):
        descriptions.load("mnist")


def test_a_folder_without_a_description_is_one_of_pictures():
    Path("data/datasets/mine").mkdir(parents=True)
    mine = descriptions.load("mine")
    assert isinstance(mine, descriptions.ImageFolder)
    assert (mine.name, mine.title, mine.classes, mine.augmentation) == (
        "mine",
        "mine",
        (),
        Augmentation(flip=False, shift=0),
    )
    assert descriptions.parse(mine.model_dump_json(), "a copy") == mine


def test_a_description_of_pictures_may_say_little():
    idx.write_dataset("mine", {"licence": "CC0", "classes": ["b", "a"], "augmentation": {"flip": True, "shift": 2}})
    mine = descriptions.load("mine")
    assert (mine.title, mine.licence, mine.classes, mine.augmentation.flip) == ("mine", "CC0", ("b", "a"), True)


@pytest.mark.parametrize("text", [b"title: [", b"\xff\xfe\x00", b"title: \x07", b"title: 2026-13-01"])
def test_a_description_that_is_no_yaml_is_refused(text: bytes):
    (idx.write_dataset("tiny", {}) / "dataset.yaml").write_bytes(text)
    with pytest.raises(
        DarkroomError,
        match=r"tiny/dataset\.yaml cannot be read .*: put it right \(git restores a dataset\.yaml that came with",
    ):
        descriptions.load("tiny")


def test_a_description_without_keys_is_refused():
    (idx.write_dataset("tiny", {}) / "dataset.yaml").write_text("just text")
    with pytest.raises(DarkroomError, match="must hold keys such as title"):
        descriptions.load("tiny")


FILES = idx.description(idx.contents())["files"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"title": 3}, "title = 3: Input should be a valid string"),
        ({"licence": ""}, "licence = ''"),
        ({"colour": "red"}, "colour = 'red': Extra inputs"),
        ({"classes": ["one"]}, "classes: Tuple should have at least 2 items"),
        ({"classes": ["one", 2]}, "classes.1 = 2: Input should be a valid string"),
        ({"classes": ["one", "one"]}, "classes names 'one' twice"),
        ({"augmentation": {"flip": "yes", "shift": 1}}, "augmentation.flip = 'yes'"),
        ({"augmentation": {"flip": True}}, "augmentation.shift: Field required"),
        ({"augmentation": {"flip": True, "shift": -1}}, "shift = -1 must not be negative"),
        ({"format": "pickle"}, "format = 'pickle'"),
        ({"format": "cifar_binary"}, "files must fill the roles train, test"),
        ({"files": FILES[:3]}, "files must fill the roles train_images"),
        ({"files": [*FILES[:3], {**FILES[3], "role": "test_images"}]}, "files must fill the roles"),
        (
            {"files": [*FILES[:3], {**FILES[3], "name": FILES[0]["name"]}]},
            "files names 'train-images-idx3-ubyte' twice",
        ),
        ({"files": [*FILES[:3], {**FILES[3], "name": "../labels"}]}, "files.3.name = '../labels'"),
        ({"files": [*FILES[:3], {**FILES[3], "sha256": "abc"}]}, "files.3.sha256 = 'abc'"),
        ({"files": [*FILES[:3], {**FILES[3], "sha256": None}]}, "needs a sha256, or an archive with an md5"),
        ({"archives": [{"name": "all.zip"}]}, "all.zip needs an md5"),
        ({"mirrors": ["ftp://example.org/"]}, "mirrors.0 = 'ftp://example.org/'"),
        ({"debian": {"package": "--help", "folder": "usr"}}, "debian.package = '--help'"),
        ({"debian": {"package": "tiny", "folder": "../usr"}}, "debian.folder = '../usr'"),
    ],
)
def test_a_mistake_in_a_description_is_named(change: dict, sentence: str):
    idx.write_dataset("tiny", {**idx.description(idx.contents()), **change})
    with pytest.raises(DarkroomError) as caught:
        descriptions.load("tiny")
    assert sentence in str(caught.value)
    assert "data/datasets/tiny/dataset.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
