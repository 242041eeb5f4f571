"""Index a folder of texts: tables with a column of texts and one of labels, or folders of .txt files.

Tables that are named like splits (train.csv, test.csv) are the splits; else a column `split` may give them.
unlabelled.csv holds texts without labels, and out_of_scope.csv texts of none of the classes; a label of this name, or
`oos`, means the same. The index holds the texts, so that preprocessing reads nothing else.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from darkroom.core.arrays import OUT_OF_SCOPE, UNLABELLED
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, write_json
from darkroom.core.spelling import counted
from darkroom.datasets import folders, index, listing, manifest, tables, text_files
from darkroom.datasets.descriptions import DESCRIPTION, TextFolder
from darkroom.tokens import text as texts
from darkroom.tokens.text import Unusable

FILE = "texts.jsonl"  # in the folder of raw files


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index."""

    id: str  # unique: that of the table, or its file and row, such as train/00042, or the path of a .txt file
    text: str
    label: str  # "" if it is unlabelled or out of scope
    split: str  # one of SPLITS, UNLABELLED, OUT_OF_SCOPE, or "" if the dataset has no split of its own
    group: str
    columns: Mapping[str, str]  # the table's other columns
    problem: str  # why the text is unusable, or ""


def build(dataset: TextFolder, folder: str | Path) -> str:
    """Write the index of the dataset's folder, and its description with the classes found, to `folder`.

    Returns a summary. Raises DarkroomError without texts, with fewer than two classes, or if a table is invalid.
    """
    entries = [*_entries(dataset)]
    _require_unique(dataset, entries)
    inside = [entry for entry in entries if entry.split != OUT_OF_SCOPE]
    classes = index.classes_of(dataset, inside)
    index.check_groups(dataset, inside)
    with new_folder(folder) as raw:
        with (raw / FILE).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries)
        write_json(raw / DESCRIPTION, dataset.model_copy(update={"classes": classes}).model_dump(mode="json"))
    unusable = sum(bool(entry.problem) for entry in entries)
    unlabelled = sum(entry.split == UNLABELLED for entry in entries)
    found = f"{counted(len(inside) - unlabelled, 'text')} of {counted(len(classes), 'class')}"
    if unlabelled:
        found += f" and {counted(unlabelled, 'unlabelled text')}"
    if len(inside) < len(entries):
        found += f" and {counted(len(entries) - len(inside), 'text')} out of scope"
    return f"{found}, {unusable} of them unusable" if unusable else found


def columns(dataset: TextFolder) -> list[str]:
    """The columns that are kept of the dataset's tables: group, if there are groups, and those of other facts.

    Raises DarkroomError as `build` does if a table is invalid.
    """
    entries = [*_entries(dataset)]
    others = {name for entry in entries for name in entry.columns}
    return [*(["group"] if any(entry.group for entry in entries) else []), *sorted(others)]


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


def _entries(dataset: TextFolder) -> Iterator[Entry]:
    """The entries of the tables, or of the .txt files if there are no tables."""
    if not (files := tables.find(dataset.folder)):
        empty = True
        for one, text, problem in text_files.read(dataset):
            given = {"id": one.path, "text": text, "label": one.label, "split": one.split}
            yield _entry(dataset, given, str(dataset.folder / one.path), one.path, "", problem)
            empty = False
        if empty:
            wanted = f"a .csv or .jsonl file with the columns {tables.TEXT[0]} and {tables.LABEL[0]}"
            raise DarkroomError(f"{dataset.folder} has no texts: add {wanted}, or folders of {tables.FILES} files.")
        return
    for folder in sorted(path for path in dataset.folder.iterdir() if path.is_dir() and path.name[0] != "."):
        if listing.holds_no_class(folder.name) and any(folders.files(dataset.folder, folder)):
            table = f"{UNLABELLED if listing.means_unlabelled(folder.name) else OUT_OF_SCOPE}.csv"
            raise DarkroomError(f"{folder} stands beside {files[0].name}: put its texts into a table, {table}.")
    empty = True
    for path, split in _splits(dataset.folder, files).items():
        for number, row in enumerate(tables.read(path, split not in (UNLABELLED, OUT_OF_SCOPE)), 1):
            yield _entry(dataset, row, f"{path}, row {number}", f"{path.stem}/{number:05}", split)
            empty = False
    if empty:
        raise DarkroomError(f"{dataset.folder}: {', '.join(path.name for path in files)} has no rows: add some.")


def _splits(folder: Path, files: Sequence[Path]) -> dict[Path, str]:
    """What the name of each table means: one of SPLITS, UNLABELLED, OUT_OF_SCOPE, or "" for the only other one."""
    found = {}
    for path in files:
        found[path] = listing.split_named(path.stem)
        if listing.means_unlabelled(path.stem):
            found[path] = UNLABELLED
        elif listing.means_out_of_scope(path.stem):
            found[path] = OUT_OF_SCOPE
    main = [path for path, split in found.items() if split not in (UNLABELLED, OUT_OF_SCOPE)]
    if len(main) > 1 and (odd := next((path for path in main if not found[path]), None)):
        names = ", ".join(path.name for path in main)
        raise DarkroomError(f"{folder} has {names}: name {odd.name} by its split (train, val, test), or move it.")
    return found


def _entry(dataset: TextFolder, given: dict[str, Any], where: str, name: str, split: str, problem: str = "") -> Entry:
    """The entry of a row; `name` is its id if it has none, `split` its split, and `problem` is known already."""
    values = {name: "" if listing.is_absent(given.get(name)) else str(given[name]) for name in tables.COLUMNS}
    others = {name: manifest.plain(value) for name, value in given.items() if name not in values}
    others = {name: value for name, value in others.items() if len(value) <= 100}
    listing.require_unicode({**values, **others, "text": ""}, where)
    label = listing.stripped(values["label"])
    if split == OUT_OF_SCOPE or (label not in dataset.classes and listing.means_out_of_scope(label)):
        label, split = "", OUT_OF_SCOPE
    else:
        split = manifest.row_split(listing.stripped(values["split"]) or split, label, where)
    plain = ""
    try:
        plain = "" if problem else texts.clean(values["text"])
    except Unusable as reason:
        problem = str(reason)
    return Entry(
        id=listing.stripped(values["id"]) or name,
        text=plain,
        label=label,
        split=split,
        group=listing.stripped(values["group"]),
        columns=others,
        problem=problem,
    )


def _require_unique(dataset: TextFolder, entries: list[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise DarkroomError(f"{dataset.folder} has the id {entry.id!r} twice: every text needs its own.")
        seen.add(entry.id)
