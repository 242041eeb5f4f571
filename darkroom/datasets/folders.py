"""List the files of a folder: one sub-folder per class, or one sub-folder per split with one per class in it.

A folder `unlabelled` beside the classes or the splits holds images without a label, unless dataset.yaml lists it as a
class.

Split folders that are not recognised would become the classes. So names that mean a split are recognised in the usual
spellings, and a folder whose layout is not clear is an error.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from darkroom.core.arrays import SPLITS, UNLABELLED
from darkroom.core.errors import DarkroomError
from darkroom.datasets import answers, listing, records
from darkroom.datasets.listing import Listed

_LITTER = {  # of archives, operating systems and network storage
    "__macosx", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
    "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
}  # fmt: skip
_ALSO_CLASSES = ("train", "valid")  # everyday words: beside other folders, they are classes if images are in them
_DESCRIPTION = "dataset.yaml"


def walk(folder: Path, classes: Sequence[str]) -> tuple[list[Listed], list[str]]:
    """The files in the class folders, at any depth, and the paths of the files that are in no class folder.

    Hidden files, litter and empty folders are ignored. If `classes`, those of dataset.yaml, contain all sub-folders,
    none of them is a split. Raises DarkroomError if splits and classes cannot be told apart, if a class folder links
    out of `folder`, or if a folder is unreadable.
    """
    tops, unlabelled = _without_unlabelled(_folders(folder), classes)
    splits = _splits(folder, tops, classes, bool(unlabelled))
    listed, beside = [], _beside(folder, folder)
    if not splits:
        listed += (Listed(path, top) for top in tops for path in files(folder, folder / top))
        _refuse_splits_within_classes(folder, listed)
    for top, split in splits.items():
        beside += _beside(folder, folder / top)
        labels, more = _without_unlabelled(_folders(folder / top, folder), classes)
        if more and split != "train":
            remedy = f"move its images to {folder / UNLABELLED}, or list it under `classes` in dataset.yaml"
            raise DarkroomError(f"{folder / top / more[0]} has images without a label in the split {split}: {remedy}.")
        unlabelled += [f"{top}/{name}" for name in more]
        for label in labels:
            listed += (Listed(path, label, split) for path in files(folder, folder / top / label))
    for name in unlabelled:
        listed += (Listed(path, "", UNLABELLED) for path in files(folder, folder / name))
    return listed, sorted(beside)


def empty_unlabelled(folder: Path, classes: Sequence[str]) -> list[str]:
    """The names of the folders for unlabelled images in `folder` that contain no files."""
    found = sorted(entry.name for entry in _entries(folder) if entry.is_dir())
    return sorted(set(_without_unlabelled(found, classes)[1]) - set(_folders(folder)))


def _without_unlabelled(names: Sequence[str], classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of the folders of classes or splits, and those of the folders of unlabelled images."""
    unlabelled = [name for name in names if listing.means_unlabelled(name) and name not in classes]
    return [name for name in names if name not in unlabelled], unlabelled


def _splits(folder: Path, tops: Sequence[str], classes: Sequence[str], has_unlabelled: bool) -> dict[str, str]:
    """The split of each sub-folder of `folder`; empty if the sub-folders are classes.

    Beside unlabelled images, none needs to be for training.
    """
    splits = {top: split for top in tops if (split := _split_named(top))}
    others = [top for top in tops if top not in splits]
    if not splits or set(tops) <= set(classes):
        return {}
    inside = {top: _folders(folder / top, folder) for top in splits}
    names = " and ".join(splits)
    if others:
        if len(splits) == 1 and names.casefold() in _ALSO_CLASSES and not inside[names]:
            return {}
        remedy = "move it out of the dataset's folder, or list all classes under `classes` in dataset.yaml"
        odd = names if len(splits) == 1 and not inside[names] else others[0]
        beside = f"the split {names}" if odd != names else f"classes such as {others[0]!r}, which looks like a split"
        raise DarkroomError(f"{folder} has the folder {odd!r} beside {beside}: {remedy}.")
    if not has_unlabelled and not any(inside[top] for top, split in splits.items() if split == "train"):
        missing = f"no class folders in {names}" if "train" in splits.values() else f"no folder train beside {names}"
        remedy = "add train/<class>/, or list all classes under `classes` in dataset.yaml"
        raise DarkroomError(f"{folder} has {missing}: {remedy}.")
    for split in SPLITS:
        if len(same := [top for top in splits if splits[top] == split]) > 1:
            raise DarkroomError(f"{folder} has {' and '.join(same)}, which mean the same split: merge them.")
    for top, labels in inside.items():
        if labels and all(map(_split_named, labels)):
            raise DarkroomError(
                f"{folder / top / labels[0]} has the name of a split: put the class folders into {top}."
            )
    return splits


def _refuse_splits_within_classes(folder: Path, listed: Sequence[Listed]) -> None:
    found: dict[str, dict[str, str]] = {}  # class -> split -> sub-folder that means it
    for one in listed:
        top, *deeper, _ = one.path.split("/")
        if deeper and (split := _split_named(deeper[0])):
            found.setdefault(top, {})[split] = deeper[0]
    for top, splits in found.items():
        if "train" in splits and len(splits) > 1:
            name = next(splits[split] for split in splits if split != "train")
            raise DarkroomError(f"{folder / top / name} is a split within a class: move it to {folder / name / top}.")


def _split_named(folder: str) -> str:
    """The split that the name of a folder means, such as Train, training_set or train2017; or an empty string."""
    return listing.split_named(re.sub(r"([ _-]?(set|data|images|split))?([ _-]?\d+)?$", "", folder.casefold()))


def _folders(parent: Path, root: Path | None = None) -> list[str]:
    """The names of the folders in `parent` that contain files; none may link out of `root`, by default `parent`."""
    root, names = root or parent, []
    for entry in _entries(parent):
        if entry.is_dir():
            path = Path(entry.path)
            if not path.resolve().is_relative_to(root.resolve()):
                raise DarkroomError(f"{path} is a link out of the dataset's folder: copy its images into the folder.")
            if next(files(root, path), None) is not None:
                names.append(entry.name)
    return sorted(names)


def files(root: Path, top: Path) -> Iterator[str]:
    """The paths of the files in `top` at any depth, relative to `root`; a link to a folder counts as a file."""
    for parent, folders, names in os.walk(top, onerror=_raise_unreadable):
        folders[:] = [name for name in folders if not _is_ignored(name)]
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in (*names, *links):
            if not _is_ignored(name):
                yield "/".join(Path(parent, name).relative_to(root).parts)


def _beside(root: Path, parent: Path) -> list[str]:
    """The paths of the files directly in `parent`, relative to `root`."""
    paths = (Path(entry.path).relative_to(root) for entry in _entries(parent) if not entry.is_dir())
    known = {Path(name) for name in (_DESCRIPTION, answers.FILE, records.CORRECTIONS)}
    return ["/".join(path.parts) for path in paths if path not in known]


def _entries(parent: Path) -> list[os.DirEntry]:
    try:
        return [entry for entry in os.scandir(parent) if not _is_ignored(entry.name)]
    except OSError as error:
        _raise_unreadable(error)


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _LITTER


def _raise_unreadable(error: OSError) -> NoReturn:
    remedy = "give this user access, or move it out of the dataset's folder"
    raise DarkroomError(f"{error.filename} cannot be read ({error.strerror}): {remedy}.") from None
