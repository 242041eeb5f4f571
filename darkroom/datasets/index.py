"""Index a folder of images: one row per file with its label, size and digest, without a copy of the file.

The images are listed by the sub-folders (`folders`) or by a manifest (`manifest`). Any change of the files, labels,
splits or groups changes the index.
"""

import csv
import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from darkroom.core.arrays import UNLABELLED
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, write_json
from darkroom.core.spelling import NOUNS, counted
from darkroom.datasets import folders, listing, manifest
from darkroom.datasets.descriptions import DESCRIPTION, Dataset, ImageFolder
from darkroom.datasets.listing import Listed
from darkroom.inputs import image

FILE = "index.csv"  # in the folder of raw files
MAX_BYTES = 2**28  # larger files are not read

_FOREIGN_TABLES = (".json", ".xlsx", ".xls", ".ods", ".parquet", ".feather", ".arrow")
_BLOCK = 1024  # files read between two updates of the progress bar
_LOCK = threading.Lock()  # for DVC: one thread asks it, once
_NOT_WRITABLE = "is not valid Unicode, or contains a carriage return"
_REMEDIES = {  # by kind: if labels are missing
    "image": "put at least 3 random images of each class into a folder of its name, or label them in the manifest",
    "text": "give at least 3 random texts of each class a label",
    "table": "give at least 3 random rows of each class a value in the column of the target",
}
_LIST_CLASSES = "list all classes in its dataset.yaml, such as `classes: [cat, dog]`, to label {}s on a page"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the index."""

    path: str
    label: str  # "" if it is unlabelled
    split: str  # one of SPLITS, UNLABELLED, or "" if the dataset has no split of its own
    group: str
    columns: str  # the manifest's other columns, as a JSON object of texts; "" if there are none
    bytes: int
    blake2b: str  # digest of the file, 128 bits
    format: str
    width: int  # pixels, after the EXIF orientation is applied
    height: int
    channels: int  # 1 or 3
    bits: int  # per channel: 8 or 16
    remark: str  # what is ignored although it changes the pixels, or ""
    problem: str  # why the file is unusable, or ""


def build(dataset: ImageFolder, folder: str | Path) -> str:
    """Write the index of the dataset's folder, and its description with the classes found, to `folder`.

    Returns a summary. Raises DarkroomError without images or with too few classes, if a class has none, differs from
    another only in spelling or is not in dataset.yaml, if the layout or the manifest is invalid, or if a group is in
    two splits.
    """
    listed, remarks = _list(dataset)
    if not listed:
        remedy = (
            f"add one sub-folder per class, a {listing.MANIFESTS[0]} with the columns path and label, or a sub-folder "
            f"{UNLABELLED} with images to label"
        )
        raise DarkroomError(f"{dataset.folder} has no images: {remedy}.{_foreign_table(dataset.folder)}")
    classes = classes_of(dataset, listed)
    check_groups(dataset, listed)
    unusable, ignored = 0, Counter()
    with new_folder(folder) as raw:
        with (raw / FILE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(Entry))
            for entry in _entries(dataset.folder, listed):
                writer.writerow(astuple(entry))
                unusable += bool(entry.problem)
                ignored[entry.remark] += 1
        write_json(raw / DESCRIPTION, dataset.model_copy(update={"classes": classes}).model_dump(mode="json"))
    remarks += [f"{counted(count, 'image')}: {remark}" for remark, count in sorted(ignored.items()) if remark]
    unlabelled = sum(one.split == UNLABELLED for one in listed)
    found = f"{counted(len(listed) - unlabelled, 'image')} of {counted(len(classes), 'class')}"
    if unlabelled:
        found += f" and {counted(unlabelled, 'unlabelled image')}"
    return "; ".join([f"{found}, {unusable} of them unusable" if unusable else found, *remarks])


def _foreign_table(folder: Path) -> str:
    """What to do with a table in a format that is not read: a sentence, or an empty string if there is none."""
    found = min((path.name for path in folder.iterdir() if path.suffix.casefold() in _FOREIGN_TABLES), default=None)
    if found is None:
        return ""
    return f" If {found} holds texts or rows, save it as CSV, or as .jsonl with one object of named values per line."


def read(folder: str | Path) -> Iterator[Entry]:
    """Yield the entries of the index in `folder`; raise DarkroomError if it is missing or invalid."""
    path = Path(folder) / FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield Entry(
                    **{**row, **{name: int(row[name]) for name in ("bytes", "width", "height", "channels", "bits")}}
                )
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        remedy = "run `dvc repro --force fetch` to write it again"
        raise DarkroomError(f"{path} cannot be read ({error}): {remedy}.") from None


def _list(dataset: ImageFolder) -> tuple[list[Listed], list[str]]:
    """The images of the dataset, sorted, and remarks on what is not used."""
    if path := manifest.find(dataset.folder):
        listed, long = manifest.read(path)
        reason = f"values of more than {manifest.MAX_CELL} characters"
        remarks = [f"columns of {path.name} that are not kept ({reason}): {', '.join(long)}"] if long else []
        named = {one.path.split("/")[0] for one in listed}
        beside = sorted(one.name for one in dataset.folder.iterdir() if one.is_dir() and one.name not in named)
        remarks += [
            f"{name}/ is not used: {path.name} names no image in it"
            for name in beside
            if listing.means_unlabelled(name)
        ]
    else:
        listed, unused = folders.walk(dataset.folder, dataset.classes)
        files = f"{counted(len(unused), 'file')} outside of the class folders"
        remarks = [f"not used: {files}, such as {unused[0]!r}"] if unused else []
        remarks += [f"{name}/ is empty" for name in folders.empty_unlabelled(dataset.folder, dataset.classes)]
    return sorted(listed), remarks


def classes_of(dataset: Dataset, listed: Sequence[Any]) -> tuple[str, ...]:
    """The classes of examples with a `label`, in the order of dataset.yaml, or sorted.

    Raises DarkroomError if there are fewer than two, or if one differs from another only in spelling or is unknown. If
    there are unlabelled examples, those of a class of dataset.yaml may be among them.
    """
    folder = dataset.folder
    found = Counter(one.label for one in listed if one.split != UNLABELLED)
    noun = NOUNS[dataset.kind]
    has_unlabelled = found.total() < len(listed)
    can_label, list_classes = dataset.kind != "table" and has_unlabelled, _LIST_CLASSES.format(noun)  # on the page
    if not found and not (can_label and dataset.classes):
        remedy = f"{list_classes}; or {_REMEDIES[dataset.kind]}" if can_label else _REMEDIES[dataset.kind]
        total = counted(len(listed), noun)
        raise DarkroomError(f"{folder} has {total}, but no {noun} with a label: {remedy}.")
    similar: dict[str, str] = {}
    for name in sorted(found):
        if not _is_writable(name):
            shown = name.encode(errors="backslashreplace").decode()
            raise DarkroomError(f"{folder}: the class name {shown!r} {_NOT_WRITABLE}: rename the class.")
        key = listing.key(name)
        if key in similar:
            difference = "differ only in case, blanks, number format or Unicode form"
            raise DarkroomError(
                f"{folder}: the classes {similar[key]!r} and {name!r} {difference}: give them the same name."
            )
        similar[key] = name
    classes = dataset.classes or tuple(sorted(found))
    if unknown := sorted(set(found) - set(classes)):
        remedy = f"dataset.yaml lists {', '.join(classes)}: add the class there, or remove its {noun}s"
        raise DarkroomError(f"{folder} has the class {unknown[0]!r}, but {remedy}.")
    empty = [name for name in classes if name not in found]
    if empty and not can_label:
        remedy = f"{_REMEDIES[dataset.kind] if has_unlabelled else 'add some'}, or remove the class from dataset.yaml"
        raise DarkroomError(f"{folder} has no {dataset.kind}s of the class {empty[0]!r}: {remedy}.")
    if len(classes) < 2:
        hint = f" If there are unlabelled {noun}s of others, {list_classes}." if can_label else ""
        raise DarkroomError(f"{folder} has only one class, {classes[0]!r}: a classifier needs at least two.{hint}")
    return classes


def check_groups(dataset: Dataset, listed: Iterable[Any]) -> None:
    """Raise DarkroomError if a group is in two splits; an example without a split belongs to training.

    Unlabelled examples of a group that is held out are left out later.
    """
    first: dict[str, str] = {}
    for one in (one for one in listed if one.split != UNLABELLED):
        split = one.split or "train"
        if one.group and first.setdefault(one.group, split) != split:
            splits = f"{first[one.group]} and {split} (an empty split means train)"
            raise DarkroomError(f"{dataset.folder}: the group {one.group!r} is in {splits}: use one split per group.")


def _entries(folder: Path, listed: Sequence[Listed]) -> Iterator[Entry]:
    """The rows of the files, in order."""
    progress = tqdm(total=len(listed), desc="index", unit="image", leave=False, disable=None)
    with ThreadPoolExecutor() as readers, progress:
        for start in range(0, len(listed), _BLOCK):
            block = listed[start : start + _BLOCK]
            yield from readers.map(partial(_entry, folder), block)
            progress.update(len(block))


def _entry(folder: Path, listed: Listed) -> Entry:
    """The row of one file, which is read once."""
    try:
        if not _is_writable(listed.path):
            listed = listed._replace(path=listed.path.encode(errors="backslashreplace").decode().replace("\r", "\\r"))
            raise image.Unusable(f"its name {_NOT_WRITABLE}")
        contents = contents_of(folder, listed.path)
        header = image.probe(contents)
    except image.Unusable as reason:
        unknown = {"bytes": 0, "blake2b": "", "format": "", "width": 0, "height": 0, "channels": 0, "bits": 8}
        return Entry(**listed._asdict(), **unknown, remark="", problem=str(reason))
    return Entry(**listed._asdict(), bytes=len(contents), blake2b=digest(contents), **asdict(header), problem="")


def contents_of(folder: Path, path: str) -> bytes:
    """Read a file of the dataset; raise image.Unusable if it is unreadable, too large or a link out of the folder."""
    file = folder / path
    try:
        target = file.resolve(strict=True)
        if not target.is_relative_to(folder.resolve()) and not _is_in_dvc_cache(target):
            raise image.Unusable("it is a link out of the dataset's folder")
        if not target.is_file():
            raise image.Unusable("it is not a regular file")
        if (size := target.stat().st_size) > MAX_BYTES:
            raise image.Unusable(f"it has {size:,} bytes, more than {MAX_BYTES:,}")
        return target.read_bytes()
    except FileNotFoundError:
        raise image.Unusable("it is missing or a broken link") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: circular links
        raise image.Unusable(f"it cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _is_in_dvc_cache(target: Path) -> bool:
    """Whether the target of a link is in DVC's cache; `dvc add` may replace files by links into it."""
    with _LOCK:
        folder = _dvc_cache(Path.cwd())
    return folder is not None and target.is_relative_to(folder)


@cache
def _dvc_cache(project: Path) -> Path | None:
    """The folder of DVC's cache, which may be outside of the project; None without a DVC repository."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(project) as repo:
            return Path(repo.cache.local_cache_dir).resolve()
    except DvcException:
        return None


def digest(contents: bytes) -> str:
    """The 128-bit BLAKE2b digest of a file, in hexadecimal."""
    return hashlib.blake2b(contents, digest_size=16).hexdigest()


def _is_writable(name: str) -> bool:
    """Whether a CSV table can hold a file name.

    Python represents bytes that are not UTF-8 by lone surrogates, and CSV loses a carriage return outside of CRLF.
    """
    return listing.is_unicode(name) and "\r" not in name
