"""Read the events of a dataset of histories: who, which item, when, from CSV files or JSON lines, block by block."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from darkroom.columns import values
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted, did_you_mean
from darkroom.datasets import listing, records
from darkroom.datasets.times import FORMATS, Times

USERS = ("user", "userid", "customer", "customerid", "client", "clientid", "visitor", "visitorid", "session")
USERS += ("sessionid", "account", "accountid", "reviewerid")
ITEMS = ("item", "itemid", "movie", "movieid", "film", "filmid", "product", "productid", "article", "articleid")
ITEMS += ("book", "bookid", "isbn", "track", "trackid", "song", "songid", "sku", "asin", "content", "contentid")
TIMES = ("time", "timestamp", "date", "datetime", "ts", "eventtime", "createdat", "unixtime", "unixreviewtime")
RATINGS = ("rating", "score", "stars", "overall")
NAMES = {"user": USERS, "item": ITEMS, "time": TIMES, "rating": RATINGS}  # of columns, without case and other signs
SUFFIXES = (*records.SUFFIXES, ".jsonl")
MAX_NAME = 200  # characters of a user or an item
DTYPE = np.dtype([("user", np.int32), ("item", np.int32), ("time", np.float64)])  # numbers of Names, seconds since 1970

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Columns:
    """The columns of a table of events."""

    user: str
    item: str
    time: str
    rating: str | None = None


@dataclass
class Events:
    """The events of all files: names of users and items by their first event, and how many a rating left out."""

    users: dict[str, int] = field(default_factory=dict)  # name -> number
    items: dict[str, int] = field(default_factory=dict)
    table: np.ndarray = field(default_factory=lambda: np.empty(0, DTYPE))
    low: int = 0  # events with a rating below the lowest one that counts


def tables(folder: Path) -> list[Path]:
    """The files in `folder` that can hold events or items, sorted."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.casefold() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def header(path: Path) -> list[str]:
    """The names of the columns; those of JSON lines are the keys of the first. Raises DarkroomError as `records`."""
    if path.suffix.casefold() != ".jsonl":
        return records.header(path)
    first = next(_objects(path), None)
    if first is None:
        raise DarkroomError(f"{path} has no rows: add some.")
    return list(first)


def named(names: Sequence[str], role: str) -> str | None:
    """The column with one of the usual names of a role, one of NAMES; None if there is none."""
    plain = {re.sub(r"[\W_]+", "", name.casefold()): name for name in reversed(names)}
    return next((plain[name] for name in NAMES[role] if name in plain), None)


def columns(path: Path, given: Mapping[str, str | None]) -> Columns:
    """The columns of a table of events; `given` are those that dataset.yaml names, by role.

    Raises DarkroomError if one is not there.
    """
    names, found = header(path), {}
    for role in NAMES:
        own = given.get(role)
        if own is not None and own not in names:
            hint = did_you_mean(own, names)
            raise DarkroomError(f"{path} has no column {own!r}, which dataset.yaml gives as {role}; {hint}")
        found[role] = own or named(names, role)
    if missing := [role for role in ("user", "item", "time") if found[role] is None]:
        shown = ", ".join(map(repr, names))[:200]
        raise DarkroomError(
            f"{path} has no column of the {missing[0]} but {shown}: add `{missing[0]}: <name>` to its dataset.yaml, or "
            f"rename the column to {missing[0]}."
        )
    if twice := [role for role in found if found[role] and list(found.values()).count(found[role]) > 1]:
        raise DarkroomError(f"{path}: the column {found[twice[0]]!r} is both {twice[0]} and {twice[1]}: name others.")
    return Columns(**found)


def read(files: Mapping[Path, Columns], min_rating: float | None) -> Events:
    """The events of the files with these columns, in their order.

    Raises DarkroomError that names the first row at fault, and how many there are.
    """
    found, parts = Events(), []
    for path, names in files.items():
        parts.append(_read(path, names, min_rating, found))
    found.table = np.concatenate(parts)
    return found


def _read(path: Path, names: Columns, min_rating: float | None, found: Events) -> np.ndarray:
    numbers: dict[str, list[np.ndarray]] = {"user": [], "item": []}
    times, kept, count = Times(), [], 0
    wanted = [names.user, names.item, names.time, *([names.rating] if names.rating else [])]
    for users, items, stamps, *ratings in tqdm(blocks(path, wanted), "index", unit="block", leave=False, disable=None):
        for role, cells, known in (("user", users, found.users), ("item", items, found.items)):
            numbers[role].append(_numbers(path, role, cells, known, count))
        times.see(stamps)
        if min_rating is not None:
            kept.append(_rated(path, ratings[0], min_rating, count) if ratings else None)
        count += len(users)
    if not count:
        raise DarkroomError(f"{path} has no events: add rows.")
    try:
        seconds = times.seconds()
    except ValueError as error:
        raise DarkroomError(f"{path}: the times in the column {names.time!r} {error}.") from None
    if len(bad := np.flatnonzero(~np.isfinite(seconds))):
        cell = _cell(path, names.time, int(bad[0]))
        raise DarkroomError(
            f"{path}: {counted(len(bad), 'row')} of {count:,} without a readable time, the first is row {bad[0] + 1} "
            f"with {names.time} = {cell!r}: write {FORMATS}."
        )
    table = np.empty(count, DTYPE)
    table["user"], table["item"] = (np.concatenate(numbers[role]) for role in ("user", "item"))
    table["time"] = seconds
    if min_rating is None:
        return table
    if names.rating is None:
        raise DarkroomError(
            f"{path} has no column of ratings for min_rating = {min_rating:g}: add `rating: <name>` to its "
            "dataset.yaml."
        )
    high = np.concatenate(kept)
    found.low += int((~high).sum())
    return table[high]


def _numbers(path: Path, role: str, cells: Sequence[str], known: dict[str, int], before: int) -> np.ndarray:
    """The numbers (n,) of the names in a block, of which `before` rows precede; new names are added to `known`."""
    plain = {cell: values.category(cell) for cell in set(cells)}
    for cell, name in plain.items():
        if not name or len(name) > MAX_NAME or _CONTROL.search(name) or not listing.is_unicode(name):
            row = before + cells.index(cell) + 1
            odd = f"has more than {MAX_NAME} characters, or control characters" if name else f"is missing ({cell!r})"
            raise DarkroomError(f"{path}, row {row}: the {role} {odd}: correct or remove the row.")
    return np.fromiter((known.setdefault(plain[cell], len(known)) for cell in cells), np.int32, len(cells))


def _rated(path: Path, cells: Sequence[str], least: float, before: int) -> np.ndarray:
    found = values.numbers(cells)
    if len(bad := np.flatnonzero(np.isnan(found))):
        raise DarkroomError(
            f"{path}, row {before + bad[0] + 1}: the rating {cells[bad[0]]!r} is not a number, which min_rating needs."
        )
    return found >= least


def _cell(path: Path, name: str, number: int) -> str:
    """The value of a column in a row."""
    for (cells,) in blocks(path, [name]):
        if number < len(cells):
            return cells[number]
        number -= len(cells)
    raise DarkroomError(f"{path} was changed while it was read: run the stage again.")


def blocks(path: Path, wanted: Sequence[str]) -> Iterator[list[Sequence[str]]]:
    """The values of the columns `wanted`, for a block of rows at a time."""
    if path.suffix.casefold() != ".jsonl":
        places = [records.header(path).index(name) for name in wanted]
        for block in records.blocks(path):
            cells = records.columns_of(block)
            yield [cells[place] for place in places]
        return
    rows = _objects(path)
    while block := list(islice(rows, records.BLOCK)):
        yield [[_text(row.get(name)) for row in block] for name in wanted]


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _objects(path: Path) -> Iterator[dict[str, object]]:
    """The objects of a file of JSON lines; raise DarkroomError that names the line."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DarkroomError(f"{path}, line {number} is not JSON ({error}): correct it.") from None
                if not isinstance(row, dict) or any(isinstance(value, dict | list) for value in row.values()):
                    raise DarkroomError(f"{path}, line {number} must be an object of texts and numbers: correct it.")
                yield row
    except UnicodeDecodeError:
        raise DarkroomError(f"{path} is not UTF-8: save it as UTF-8.") from None
    except OSError as error:
        raise DarkroomError(f"{path} cannot be read ({error.strerror or error}).") from None
