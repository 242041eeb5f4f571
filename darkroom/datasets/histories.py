"""Index a folder of histories: the events of users, and what is known of the items.

Events are read block by block; the index holds numbers, so that preprocessing reads nothing else and a million events
take little memory.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom.columns import values
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, write_array, write_json
from darkroom.core.spelling import counted, did_you_mean
from darkroom.datasets import events, listing
from darkroom.datasets.descriptions import DESCRIPTION, HistoryFolder
from darkroom.datasets.events import Columns, Events

EVENTS, NAMES, ITEMS = "events.npy", "names.json", "items.csv"  # in the folder of raw files
TITLES = ("title", "name", "label")
MAX_TEXT = 10_000  # characters that are kept of a value of an item
_MIN_ITEMS = 2


@dataclass(frozen=True)
class Index:
    """What `build` wrote."""

    users: list[str]  # by number
    items: list[str]
    events: np.ndarray  # (N,) of events.DTYPE, in the order of the files
    titles: dict[str, str]  # by item, of those that items.csv lists
    features: dict[str, dict[str, str]]  # by column: the value of each such item


def build(dataset: HistoryFolder, folder: str | Path) -> str:
    """Write the events of the dataset's folder, its items, and its description to `folder`.

    Returns a summary. Raises DarkroomError without events, if a column is missing, or if a row is at fault.
    """
    files = _files(dataset)
    about = _items_file(dataset, files)
    found = events.read(files, dataset.min_rating)
    if len(found.items) < _MIN_ITEMS or not len(found.table):
        left = f", with {counted(found.low, 'rating')} below min_rating left out" if found.low else ""
        raise DarkroomError(
            f"{dataset.folder} has {counted(len(found.table), 'event')} of {counted(len(found.items), 'item')}{left}: "
            f"at least {_MIN_ITEMS} items are needed."
        )
    names, listed = _items(about) if about else ([], {})
    with new_folder(folder) as raw:
        write_array(raw / EVENTS, len(found.table), [found.table])
        write_json(raw / NAMES, {"users": list(found.users), "items": list(found.items)})
        if about:
            with (raw / ITEMS).open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(["item", "title", *names])
                writer.writerows([item, *cells] for item, cells in listed.items())
        write_json(raw / DESCRIPTION, dataset.model_dump(mode="json"))
    return _summary(found, files, about, listed)


def read(folder: str | Path) -> Index:
    """Read what `build` wrote; raise DarkroomError if it is missing or invalid."""
    folder, titles, features = Path(folder), {}, {}
    try:
        table = np.load(folder / EVENTS, allow_pickle=False)
        names = json.loads((folder / NAMES).read_bytes())
        if table.dtype != events.DTYPE:
            raise ValueError("an older format")
        if (folder / ITEMS).exists():
            with (folder / ITEMS).open(encoding="utf-8", newline="") as file:
                header, *rows = csv.reader(file)  # a column of features may be named item or title, too
                features = {name: {} for name in header[2:]}
                for item, title, *cells in rows:
                    titles[item] = title
                    for name, cell in zip(features, cells, strict=True):
                        features[name][item] = cell
        return Index(names["users"], names["items"], table, titles, features)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DarkroomError(
            f"{folder} cannot be read ({error}): run `dvc repro --force fetch` to write it again."
        ) from None


def columns(dataset: HistoryFolder) -> list[str]:
    """The columns by which histories can be sliced; raises DarkroomError as `build` does if there are no events."""
    _files(dataset)
    return ["user"]


def _files(dataset: HistoryFolder) -> dict[Path, Columns]:
    """The tables of events, with their columns: that of dataset.yaml, else the only one that can be one."""
    given = {role: getattr(dataset, role) for role in events.NAMES}
    found = events.tables(dataset.folder)
    if dataset.events is not None:
        return {_named(dataset, "events", found): events.columns(dataset.folder / dataset.events, given)}
    found = [path for path in found if path.stem.casefold() != "items" and path.name != dataset.items]
    if not found:
        raise DarkroomError(
            f"{dataset.folder} has no events: add a .csv or .jsonl file with the columns user, item and timestamp."
        )
    if len(found) == 1:
        return {found[0]: events.columns(found[0], given)}
    able = [path for path in found if _has_events(path, given)]
    if len(able) != 1:
        names = ", ".join(path.name for path in able or found)
        reason = "can all hold the events" if able else "do not have columns of user, item and time"
        raise DarkroomError(
            f"{dataset.folder}: {names} {reason}: add `events: {(able or found)[0].name}` to its dataset.yaml, or "
            "another of them."
        )
    return {able[0]: events.columns(able[0], given)}


def _has_events(path: Path, given: Mapping[str, str | None]) -> bool:
    names = events.header(path)
    return all(given.get(role) in names or events.named(names, role) for role in ("user", "item", "time"))


def _named(dataset: HistoryFolder, key: str, found: list[Path]) -> Path:
    """The file that dataset.yaml names."""
    name = getattr(dataset, key)
    path = dataset.folder / name
    if path not in found:
        hint = did_you_mean(name, [one.name for one in found])
        raise DarkroomError(f"{dataset.folder}/dataset.yaml: {key} = {name!r} is no .csv, .tsv or .jsonl file; {hint}")
    return path


def _items_file(dataset: HistoryFolder, files: Mapping[Path, Columns]) -> Path | None:
    """The table of items: that of dataset.yaml, items.*, or the only one with a column of items and one of titles."""
    found = [path for path in events.tables(dataset.folder) if path not in files]
    if dataset.items is not None:
        return _named(dataset, "items", found)
    if named := [path for path in found if path.stem.casefold() == "items"]:
        return named[0]
    able = []
    for path in found:
        names = events.header(path)
        if events.named(names, "item") and not events.named(names, "user") and _title(names):
            able.append(path)
    return able[0] if len(able) == 1 else None


def _title(names: list[str]) -> str | None:
    plain = {name.casefold(): name for name in names}
    return next((plain[name] for name in TITLES if name in plain), None)


def _items(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The columns of features, and by item its title and its values of them.

    Raises DarkroomError if an item is listed twice or has no name.
    """
    names = events.header(path)
    item = events.named(names, "item") or (names[0] if names[0].casefold() == "id" else None)
    if item is None:
        shown = ", ".join(map(repr, names))[:200]
        raise DarkroomError(f"{path} has no column of the item but {shown}: rename one to item.")
    title = _title([name for name in names if name != item])
    others = [name for name in names if name not in (item, title)]
    listed: dict[str, list[str]] = {}
    number = 0
    chosen = [item, *([title] if title else []), *others]
    for block in events.blocks(path, chosen):
        for cells in zip(*block, strict=True):
            number += 1
            name = values.category(cells[0])
            if not name or name in listed:
                reason = "lists an item without a name" if not name else f"lists the item {name!r} twice"
                raise DarkroomError(f"{path}, row {number}, {reason}: correct or remove the row.")
            listing.require_unicode(dict(zip(chosen, cells, strict=True)), f"{path}, row {number}")
            kept = [" ".join(cell.split())[:MAX_TEXT] for cell in cells[1:]]
            listed[name] = kept if title else ["", *kept]
    return others, listed


def _summary(found: Events, files: Mapping[Path, Columns], about: Path | None, listed: Mapping[str, object]) -> str:
    shown = f"{counted(len(found.table), 'event')} of {counted(len(found.users), 'user')} and "
    said = [f"{shown}{counted(len(found.items), 'item')} ({', '.join(path.name for path in files)})"]
    if found.low:
        said.append(f"{counted(found.low, 'event')} below min_rating left out")
    if about:
        unknown = len(found.items.keys() - listed.keys())
        idle = len(listed.keys() - found.items.keys())
        said += [f"{counted(unknown, 'item')} not in {about.name}"] if unknown else []
        said += [f"{counted(idle, 'item')} of {about.name} without events"] if idle else []
    return "; ".join(said)
