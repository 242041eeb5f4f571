"""The index of a folder of pictures: what each file is, to the byte, without a copy of it.

The folder holds a sub-folder a class; or train/, test/ and perhaps val/ with those in each; or a manifest.csv or
manifest.jsonl that names path and label, and perhaps split and group, of each picture. The index tells these and the digest
of each file, so whatever changes in the folder changes the index.
"""

import csv
import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, fields
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple, NoReturn

from tqdm import tqdm

from darkroom.core.arrays import SPLITS
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, write_json
from darkroom.datasets.descriptions import ImageFolder
from darkroom.inputs import image

FILE, DESCRIPTION = "index.csv", "dataset.json"  # in the folder of raw files
MANIFESTS = ("manifest.csv", "manifest.jsonl")
MAX_BYTES = 2**28  # of one file: a larger one is not read

_BLOCK = 1024  # files read between two looks at the progress
_CACHE = Path(".dvc/cache")  # where `dvc add` may keep the files that it leaves links to


class Named(NamedTuple):
    """What a folder or a manifest says of a picture."""

    path: str  # in the dataset's folder, with "/"
    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the index."""

    path: str
    label: str
    split: str  # one of SPLITS, or "" where the dataset leaves it to us
    group: str
    bytes: int
    blake2b: str  # of the file, 128 bits
    format: str
    width: int  # pixels, as a person sees the picture
    height: int
    channels: int  # 1 or 3
    problem: str  # why it cannot be used, or ""


def build(dataset: ImageFolder, folder: str | Path) -> str:
    """Writes the index of the dataset's folder, and its description with the classes found, to `folder`; returns what it found in few words.

    Raises DarkroomError where there are no pictures, fewer than two classes, classes that differ by case only, that
    dataset.yaml does not name or that are links out of the folder, a manifest with a mistake, or a group in two splits.
    """
    manifests = [dataset.folder / name for name in MANIFESTS if (dataset.folder / name).exists()]
    if len(manifests) > 1:
        raise DarkroomError(f"{dataset.folder} holds both {' and '.join(MANIFESTS)}: keep one of them.")
    named = sorted(_read_manifest(manifests[0]) if manifests else _walk(dataset.folder))
    if not named:
        raise DarkroomError(
            f"{dataset.folder} holds no pictures: put a sub-folder a class into it, or a {MANIFESTS[0]} with the columns path and label."
        )
    classes = _classes(dataset, named)
    _refuse_divided_groups(dataset, named)
    bad = 0
    with new_folder(folder) as raw:
        with (raw / FILE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(Entry))
            for entry in _look_at_all(dataset.folder, named):
                writer.writerow(astuple(entry))
                bad += bool(entry.problem)
        write_json(raw / DESCRIPTION, dataset.model_copy(update={"classes": classes}).model_dump(mode="json"))
    return f"{len(named)} pictures of {len(classes)} classes{f', {bad} of them unusable' if bad else ''}"


def read(folder: str | Path) -> Iterator[Entry]:
    """The index in `folder`, an entry at a time; raises DarkroomError where it is missing or broken."""
    path = Path(folder) / FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield Entry(**{**row, **{name: int(row[name]) for name in ("bytes", "width", "height", "channels")}})
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DarkroomError(
            f"{path} cannot be read ({error}): run `dvc repro --force fetch` to make it anew."
        ) from None


def _walk(folder: Path) -> Iterator[Named]:
    """The files in the folder's classes, in any depth; hidden ones, and those beside the classes, are no pictures."""
    tops = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".") and entry.is_dir()]
    split_names = "train" in tops and set(tops) <= set(SPLITS)
    for top in tops:
        if not (folder / top).resolve().is_relative_to(folder.resolve()):
            raise DarkroomError(
                f"{folder / top} is a link that leads out of the dataset's folder: copy its pictures into the folder."
            )
        for place, folders, files in os.walk(folder / top, onerror=_refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            links = [name for name in folders if os.path.islink(os.path.join(place, name))]
            for name in (*files, *links):
                parts = Path(place, name).relative_to(folder).parts
                labels = parts[1:] if split_names else parts
                if not name.startswith(".") and len(labels) > 1:
                    yield Named("/".join(parts), labels[0], top if split_names else "")


def _refuse(error: OSError) -> NoReturn:
    """Nobody knows which pictures a folder holds that cannot be read."""
    raise DarkroomError(
        f"{error.filename} cannot be read ({error.strerror}): let this user read it, or take it out of the dataset's folder."
    ) from None


def _read_manifest(path: Path) -> Iterator[Named]:
    """The rows of a manifest; a column that is not asked for is left alone."""
    seen: dict[str, int] = {}
    for number, row in _rows(path):
        where = f"{path}, row {number}"
        values = {name: str(row.get(name) if row.get(name) is not None else "") for name in Named._fields}
        for name in ("path", "label"):
            if not values[name]:
                raise DarkroomError(f"{where} has no {name}: each row needs one.")
        if values["split"] not in ("", *SPLITS):
            raise DarkroomError(f"{where} has the split {values['split']!r}: it must be {', '.join(SPLITS)} or empty.")
        picture = PurePosixPath(values["path"])
        if picture.is_absolute() or ".." in picture.parts:
            raise DarkroomError(f"{where} has the path {values['path']!r}: it must lie in the folder of the manifest.")
        if str(picture) in seen:
            raise DarkroomError(
                f"{where} names {values['path']!r}, as row {seen[str(picture)]} does: keep one of them."
            )
        seen[str(picture)] = number
        yield Named(**{**values, "path": str(picture)})


def _rows(path: Path) -> Iterator[tuple[int, dict]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                for number, line in enumerate(file, 1):
                    if line.strip():
                        row = json.loads(line)
                        if not isinstance(row, dict):
                            raise ValueError(f"row {number} is no object")
                        yield number, row
            else:
                reader = csv.DictReader(file, strict=True)
                if missing := {"path", "label"} - set(reader.fieldnames or ()):
                    raise ValueError(f"it has no column {' and no column '.join(sorted(missing))}")
                yield from enumerate(reader, 1)
    except (OSError, ValueError, csv.Error) as error:
        raise DarkroomError(f"{path} cannot be read ({error}): put it right.") from None


def _classes(dataset: ImageFolder, named: Iterable[Named]) -> tuple[str, ...]:
    """The classes in the order of dataset.yaml, or of their names."""
    found = Counter(one.label for one in named)
    alike: dict[str, str] = {}
    for name in sorted(found):
        if not _is_writable(name):
            shown = name.encode(errors="backslashreplace").decode()
            raise DarkroomError(
                f"{dataset.folder}: the class {shown!r} has a name that is no Unicode, or has a carriage return in it: give it another."
            )
        key = unicodedata.normalize("NFC", name).casefold()
        if key in alike:
            raise DarkroomError(
                f"{dataset.folder}: the classes {alike[key]!r} and {name!r} differ by case or spelling only: give one of them another name."
            )
        alike[key] = name
    classes = dataset.classes or tuple(sorted(found))
    if unknown := sorted(set(found) - set(classes)):
        raise DarkroomError(
            f"{dataset.folder} holds the class {unknown[0]!r}, but dataset.yaml names {', '.join(classes)}: add it there, or take it away."
        )
    if empty := [name for name in classes if name not in found]:
        raise DarkroomError(
            f"{dataset.folder} holds no picture of the class {empty[0]!r} that dataset.yaml names: add some, or take it out there."
        )
    if len(classes) < 2:
        raise DarkroomError(f"{dataset.folder} holds the one class {classes[0]!r}: a classifier needs two at least.")
    return classes


def _refuse_divided_groups(dataset: ImageFolder, named: Iterable[Named]) -> None:
    """Raises DarkroomError where a group is in two splits; a picture without a split belongs to training."""
    first: dict[str, str] = {}
    for one in named:
        split = one.split or "train"
        if one.group and first.setdefault(one.group, split) != split:
            raise DarkroomError(
                f"{dataset.folder}: the group {one.group!r} is in {first[one.group]} and in {split} (no split counts as train): give all of it one split."
            )


def _look_at_all(folder: Path, named: Sequence[Named]) -> Iterator[Entry]:
    """The rows of the files, in their order."""
    with (
        ThreadPoolExecutor() as readers,
        tqdm(total=len(named), desc="index", unit="picture", leave=False, disable=None) as bar,
    ):
        for start in range(0, len(named), _BLOCK):
            block = named[start : start + _BLOCK]
            yield from readers.map(partial(_look, folder), block)
            bar.update(len(block))


def _look(folder: Path, named: Named) -> Entry:
    """The row of one file, which is read once."""
    try:
        if not _is_writable(named.path):
            named = named._replace(path=named.path.encode(errors="backslashreplace").decode().replace("\r", "\\r"))
            raise image.Unusable("its name is no Unicode, or has a carriage return in it")
        contents = contents_of(folder, named.path)
        header = image.probe(contents)
    except image.Unusable as reason:
        return Entry(
            **named._asdict(), bytes=0, blake2b="", format="", width=0, height=0, channels=0, problem=str(reason)
        )
    return Entry(**named._asdict(), bytes=len(contents), blake2b=digest(contents), **asdict(header), problem="")


def contents_of(folder: Path, path: str) -> bytes:
    """The bytes of a file of the dataset; raises image.Unusable where it may not or cannot be read."""
    file = folder / path
    try:
        target = file.resolve(strict=True)
        if not any(target.is_relative_to(place.resolve()) for place in (folder, _CACHE)):
            raise image.Unusable("it is a link that leads out of the dataset's folder")
        if not target.is_file():
            raise image.Unusable("it is no file")
        if (size := target.stat().st_size) > MAX_BYTES:
            raise image.Unusable(f"it has {size:,} bytes, more than {MAX_BYTES:,}")
        return target.read_bytes()
    except FileNotFoundError:
        raise image.Unusable("it is missing, or a link that leads nowhere") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        raise image.Unusable(f"it cannot be read ({getattr(error, 'strerror', None) or error})") from None


def digest(contents: bytes) -> str:
    """128 bits that tell one file from another."""
    return hashlib.blake2b(contents, digest_size=16).hexdigest()


def _is_writable(name: str) -> bool:
    """Whether a table can hold a file's name: Python stands in lone surrogates for what is no UTF-8, and CSV loses a bare carriage return."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\r" not in name
