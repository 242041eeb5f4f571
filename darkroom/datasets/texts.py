"""Index a folder of texts: tables with a column of texts and one of labels.

Files that are named like splits (train.csv, test.csv) are the splits; else a column `split` may give them. The index
holds the texts, so that preprocessing reads nothing else.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from darkroom.core.arrays import UNLABELLED
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, write_json
from darkroom.core.spelling import counted
from darkroom.datasets import index, listing, manifest, tables
from darkroom.datasets.descriptions import DESCRIPTION, TextFolder
from darkroom.tokens import text as texts
from darkroom.tokens.text import Unusable

FILE = "texts.jsonl"  # in the folder of raw files


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index."""

    id: str  # unique: that of the table, or its file and row, such as train/00042
    text: str
    label: str  # "" if it is unlabelled
    split: str  # one of SPLITS, UNLABELLED, or "" if the dataset has no split of its own
    group: str
    columns: Mapping[str, str]  # the table's other columns
    problem: str  # why the text is unusable, or ""


def build(dataset: TextFolder, folder: str | Path) -> str:
    """Write the index of the dataset's folder, and its description with the classes found, to `folder`.

    Returns a summary. Raises DarkroomError if there are no texts or fewer than two classes, or if a table is invalid.
    """
    files = tables.find(dataset.folder)
    splits = {path: listing.split_named(path.stem) for path in files}
    if not files:
        wanted = f"a .csv or .jsonl file with the columns {tables.TEXT[0]} and {tables.LABEL[0]}"
        raise DarkroomError(f"{dataset.folder} has no texts: add {wanted}.")
    if len(files) > 1 and (odd := next((path for path, split in splits.items() if not split), None)):
        names = ", ".join(path.name for path in files)
        raise DarkroomError(
            f"{dataset.folder} has {names}: name {odd.name} by its split (train, val, test), or move it."
        )
    entries = [entry for path in files for entry in _entries(path, splits[path])]
    _require_unique(dataset, entries)
    if not entries:
        raise DarkroomError(f"{dataset.folder}: {', '.join(path.name for path in files)} has no rows: add some.")
    classes = index.classes_of(dataset, entries)
    index.check_groups(dataset, entries)
    with new_folder(folder) as raw:
        with (raw / FILE).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries)
        write_json(raw / DESCRIPTION, dataset.model_copy(update={"classes": classes}).model_dump(mode="json"))
    unusable = sum(bool(entry.problem) for entry in entries)
    unlabelled = sum(entry.split == UNLABELLED for entry in entries)
    found = f"{counted(len(entries) - unlabelled, 'text')} of {counted(len(classes), 'class')}"
    if unlabelled:
        found += f" and {counted(unlabelled, 'unlabelled text')}"
    return f"{found}, {unusable} of them unusable" if unusable else found


def read(folder: str | Path) -> list[Entry]:
    """The entries of the index in `folder`; raise DarkroomError if it is missing or invalid."""
    path = Path(folder) / FILE
    try:
        with path.open(encoding="utf-8") as file:
            return [Entry(**json.loads(line)) for line in file]
    except (OSError, ValueError, TypeError) as error:
        raise DarkroomError(
            f"{path} cannot be read ({error}): run `dvc repro --force fetch` to write it again."
        ) from None


def _entries(path: Path, split: str) -> Iterator[Entry]:
    for number, row in enumerate(tables.read(path), 1):
        yield _entry(row, path, number, split)


def _entry(given: dict[str, Any], path: Path, number: int, split: str) -> Entry:
    where = f"{path}, row {number}"
    values = {name: "" if given.get(name) is None else str(given.get(name)) for name in tables.COLUMNS}
    label = listing.stripped(values["label"])
    split = manifest.row_split(listing.stripped(values["split"]) or split, label, where)
    plain, problem = "", ""
    try:
        plain = texts.clean(values["text"])
    except Unusable as reason:
        problem = str(reason)
    return Entry(
        id=listing.stripped(values["id"]) or f"{path.stem}/{number:05}",
        text=plain,
        label=label,
        split=split,
        group=listing.stripped(values["group"]),
        columns={name: str(value) for name, value in given.items() if name not in values and len(str(value)) <= 100},
        problem=problem,
    )


def _require_unique(dataset: TextFolder, entries: list[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise DarkroomError(f"{dataset.folder} has the id {entry.id!r} twice: every text needs its own.")
        seen.add(entry.id)
