"""Read a folder of .txt files, one text each, in one sub-folder per class; or in one per split, with classes in it."""

from collections.abc import Iterator
from pathlib import Path

from darkroom.datasets import folders, index, tables
from darkroom.datasets.descriptions import TextFolder
from darkroom.datasets.listing import Listed
from darkroom.inputs.unusable import Unusable


def read(dataset: TextFolder) -> Iterator[tuple[Listed, str, str]]:
    """Each file in the class folders, sorted: how it is listed, its text, and why the text is unusable, or "".

    Raises DarkroomError as `folders.walk` does.
    """
    listed, _ = folders.walk(dataset.folder, dataset.classes)
    for one in sorted(listed):
        try:
            yield one, _text(dataset.folder, one.path), ""
        except Unusable as reason:
            yield one, "", str(reason)


def _text(folder: Path, path: str) -> str:
    if not path.casefold().endswith(tables.FILES):
        raise Unusable(f"it is not a {tables.FILES} file")
    try:
        text = index.contents_of(folder, path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unusable("it is not UTF-8: save it as UTF-8") from None
    if "\0" in text:
        raise Unusable("it has a NUL character: save it as UTF-8, or remove the character")
    return text
