"""Folders of images for the tests of the index, in data/datasets/mine below the current folder."""

from pathlib import Path

import pytest
from PIL import Image

from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, index

FOLDER = Path("data/datasets/mine")


def write_image(path: str, value: int = 0, size: tuple[int, int] = (3, 2)) -> Path:
    """Write a grey PNG of one value to the dataset's folder."""
    file = FOLDER / path
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(file, "PNG")
    return file


def write_images(*paths: str) -> None:
    for path in paths:
        write_image(path)


def summary() -> str:
    """Index the folder; the summary that `index.build` returns."""
    return index.build(descriptions.load("mine"), "data/raw")


def build() -> list[index.Entry]:
    summary()
    return list(index.read("data/raw"))


def rows() -> list[tuple[str, str, str]]:
    """Path, label and split of each entry."""
    return [(entry.path, entry.label, entry.split) for entry in build()]


def error_message() -> str:
    """The error message of `index.build`; checks that earlier raw files are kept."""
    Path("data/raw").mkdir(exist_ok=True)
    Path("data/raw/earlier").write_text("kept")
    with pytest.raises(DarkroomError) as caught:
        index.build(descriptions.load("mine"), "data/raw")
    assert [path.name for path in Path("data/raw").iterdir()] == ["earlier"]
    assert "\n" not in str(caught.value)
    return str(caught.value)
