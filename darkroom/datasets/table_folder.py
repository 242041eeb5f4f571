"""Index a folder with a table: its columns typed, its values as numbers, and the class of each row.

Files that are named like splits (train.csv, test.csv) are the splits; else a column `split` may give them. The table is
read twice, in blocks of rows: to find what the columns hold, and to write it. Preprocessing reads nothing else.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from darkroom.columns import schema, values
from darkroom.columns.schema import Column, Schema
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, write_array, write_json, write_text
from darkroom.core.spelling import counted, did_you_mean
from darkroom.datasets import index, listing, profiles, records
from darkroom.datasets.descriptions import DESCRIPTION, TableFolder
from darkroom.datasets.profiles import Profile

ROWS, VALUES, PROFILES = "rows.csv", "values.npy", "profiles.json"  # in the folder of raw files
TARGETS = ("target", "label", "class", "y")  # names of the column to predict, if dataset.yaml names none
ID, SPLIT = "id", "split"  # columns with these names, in any case, are not inputs
GROUP = "group"  # the name of the groups among the columns of all later stages
MAX_CLASSES, MAX_OF_FEW = 200, 20  # numbers as classes: half as many as labelled rows, but at least so many
MAX_TEXT = 100  # characters that are kept of a value of an ignored column
_AFFIRMATIVE = ("1", "true", "yes", "y", "t", "positive")


class Row(NamedTuple):
    """One row of the table, besides its values."""

    id: str  # unique: that of the table, or its file and number, such as clients/00042
    label: str
    split: str  # one of SPLITS, or "" if the dataset has no split of its own
    group: str
    time: str  # a number; "" if there is none
    columns: str = ""  # the ignored columns, as a JSON object of texts; "" if there are none


@dataclass(frozen=True)
class Found:
    """What the first pass found out about a column, for the report."""

    name: str
    kind: str
    reason: str  # why it has this kind
    held: int  # values that are not missing
    infinite: int
    distinct: int  # at most profiles.MAX_CATEGORIES + 1
    resembles: str  # a text that may be a number or date in another notation, or ""
    numbers_rows: bool  # whether each value is the one before it and 1


@dataclass(frozen=True)
class _Roles:
    """Which columns, by name, have another meaning than that of inputs; None if there is none."""

    target: str
    id: str | None
    split: str | None
    group: str | None
    time: str | None
    ignored: tuple[str, ...]

    def others(self) -> set[str | None]:
        """The names of the columns that are not inputs."""
        return {self.target, self.id, self.split, self.time, self.group, *self.ignored}

    def inputs(self, names: Sequence[str]) -> list[str]:
        """The names of the columns that are inputs; one without a name numbers the rows."""
        return [name for name in names if name and name not in self.others()]


def build(dataset: TableFolder, folder: str | Path) -> str:
    """Write the rows of the dataset's folder, and its description with the classes found, to `folder`.

    Returns a summary. Raises DarkroomError if the table is invalid, if it has no column to predict, if that has fewer
    than two classes, or if dataset.yaml names a column that is not there.
    """
    files = _files(dataset)
    names = records.header(next(iter(files)))
    for path in files:
        if set(other := records.header(path)) != set(names):
            odd = sorted(set(other) ^ set(names))[0]
            raise DarkroomError(f"{path}: the column {odd!r} is not in every table of {dataset.folder}: add it.")
    roles = _roles(dataset, names)
    inputs = roles.inputs(names)
    if not inputs:
        raise DarkroomError(f"{dataset.folder}: no columns besides {roles.target!r} are left: change dataset.yaml.")
    found, targets, count, absent = _profiles(files, inputs, roles.target)
    _require_classes(dataset, targets, roles.target)
    wanted = {**dict.fromkeys(dataset.numeric, "number"), **dict.fromkeys(dataset.categorical, "category")}
    columns = tuple(_column(profile, wanted) for profile in found)
    with new_folder(folder) as raw:
        with (raw / ROWS).open("w", encoding="utf-8", newline="") as file:
            listed = _write(raw, csv.writer(file, lineterminator="\n"), files, roles, columns, count)
        _require_unique(dataset, listed)
        labelled = [row for row in listed if row.label]
        classes = index.classes_of(dataset, labelled)
        index.check_groups(dataset, labelled)
        positive = _positive(dataset, classes, Counter(row.label for row in listed))
        write_text(raw / schema.FILE, schema.to_json(Schema(roles.target, positive, columns)))
        write_json(raw / PROFILES, [asdict(one) for one in _described(found, wanted)])
        write_json(raw / DESCRIPTION, dataset.model_copy(update={"classes": classes}).model_dump(mode="json"))
    kinds = Counter(column.kind for column in columns)
    shown = ", ".join(f"{kinds[kind]} of {name}" for kind, name in _KINDS.items() if kinds[kind])
    unlabelled = sum(not row.label for row in listed)
    summary = (
        f"{counted(count, 'row')} of {counted(len(classes), 'class')}, {counted(len(columns), 'column')} ({shown})"
    )
    without = " ".join([f"; {counted(unlabelled, 'row')} without a value of {roles.target}", *absent])
    return f"{summary}{without if unlabelled else ''}"


_KINDS = {"number": "numbers", "date": "dates", "category": "categories"}


def columns(dataset: TableFolder) -> list[str]:
    """The columns by which rows can be sliced: the group, if there are groups, ignored columns and inputs.

    Raises DarkroomError as `build` does.
    """
    names = records.header(next(iter(_files(dataset))))
    roles = _roles(dataset, names)
    return [*([GROUP] if roles.group else []), *roles.ignored, *roles.inputs(names)]


def read(folder: str | Path) -> tuple[Schema, np.ndarray, list[Row]]:
    """What `build` wrote: columns, values (N, C) float32, memory-mapped, and rows.

    Raises DarkroomError if it is missing or invalid.
    """
    try:
        columns = schema.parse((Path(folder) / schema.FILE).read_bytes())
        found = np.load(Path(folder) / VALUES, "r", allow_pickle=False)
        with (Path(folder) / ROWS).open(encoding="utf-8", newline="") as file:
            return columns, found, [Row(*row) for row in csv.reader(file)]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DarkroomError(
            f"{folder} cannot be read ({error}): run `dvc repro --force fetch` to write it again."
        ) from None


def read_profiles(folder: str | Path) -> list[Found]:
    """What the first pass found; raise DarkroomError if it is missing or invalid."""
    try:
        return [Found(**one) for one in json.loads((Path(folder) / PROFILES).read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise DarkroomError(
            f"{folder} cannot be read ({error}): run `dvc repro --force fetch` to write it again."
        ) from None


def _files(dataset: TableFolder) -> dict[Path, str]:
    """The tables and the split that each is."""
    files = {path: listing.split_named(path.stem) for path in records.find(dataset.folder)}
    if not files:
        raise DarkroomError(f"{dataset.folder} has no table: add a .csv file.")
    if len(files) > 1 and (odd := next((path for path, split in files.items() if not split), None)):
        names = ", ".join(path.name for path in files)
        raise DarkroomError(
            f"{dataset.folder} has {names}: name {odd.name} by its split (train, val, test), or move it."
        )
    return files


def _roles(dataset: TableFolder, names: Sequence[str]) -> _Roles:
    """The roles of the columns; raise DarkroomError if one that dataset.yaml names is not there, or the target."""
    given = {"target": dataset.target, "group": dataset.group, "time": dataset.time}
    lists = {key: getattr(dataset, key) for key in ("categorical", "numeric", "ignore")}
    for key, name in [*given.items(), *((key, name) for key, listed in lists.items() for name in listed)]:
        if name is not None and name not in names:
            hint = did_you_mean(name, names)
            raise DarkroomError(f"{dataset.folder}/dataset.yaml: {key} = {name!r} is not a column of the table; {hint}")
    if both := sorted({*dataset.numeric} & {*dataset.categorical}):
        raise DarkroomError(f"{dataset.folder}/dataset.yaml: {both[0]!r} is numeric and categorical: choose one.")
    plain = {name.casefold(): name for name in names}
    target = dataset.target or next((plain[name] for name in TARGETS if name in plain), None)
    if target is None:
        raise DarkroomError(
            f"{dataset.folder} does not say which column to predict: add `target: <name>` to its dataset.yaml. The "
            f"table has {', '.join(names)[:300]}."
        )
    if GROUP in names and GROUP not in (dataset.group, target):
        raise DarkroomError(
            f"{dataset.folder}: a column {GROUP!r} names rows that depend on each other. Add `group: group` to "
            "dataset.yaml if it does that, else rename it."
        )
    own = {name: plain.get(name) for name in (ID, SPLIT) if plain.get(name) not in (target, dataset.group)}
    return _Roles(target, own.get(ID), own.get(SPLIT), dataset.group, dataset.time, dataset.ignore)


def _profiles(
    files: Mapping[Path, str], inputs: Sequence[str], target: str
) -> tuple[list[Profile], Counter[str], int, list[str]]:
    """Profiles of the inputs, how often each target occurs, the number of rows, and texts for no target: (NA)."""
    found, targets, count, absent = [Profile(name) for name in inputs], Counter[str](), 0, set()
    for path in files:
        names = records.header(path)
        for block in records.blocks(path):
            cells = dict(zip(names, records.columns_of(block), strict=True))
            count += len(block)
            targets.update(map(values.category, cells[target]))
            absent |= {cell.strip() for cell in set(cells[target]) if values.is_missing(cell)} - {""}
            for profile in found:
                profile.see(cells[profile.name])
    return found, targets, count, [f"({', '.join(sorted(absent)[:5])})"] if absent else []


def _require_classes(dataset: TableFolder, targets: Counter[str], target: str) -> None:
    del targets[""]
    if not targets:
        raise DarkroomError(f"{dataset.folder}: the column {target!r} has no values: add some.")
    numbers = [name for name, one in zip(targets, values.numbers([*targets]), strict=True) if not np.isnan(one)]
    fractions = [name for name in numbers if "." in name]
    most = max(MAX_OF_FEW, targets.total() / 2) if len(numbers) > len(targets) / 2 else MAX_CLASSES
    if len(targets) > min(MAX_CLASSES, most) or len(fractions) > len(targets) / 2 > 2:
        raise DarkroomError(
            f"{dataset.folder}: the column {target!r} has {len(targets):,} different values such as "
            f"{next(iter(fractions or targets))!r}: a class is needed, so put numbers into a few groups."
        )


def _column(profile: Profile, wanted: Mapping[str, Any]) -> Column:
    kind, _ = profiles.typed(profile, wanted)
    if kind == "category":
        common = sorted(profile.categories, key=lambda name: (-profile.categories[name], name))
        return Column(profile.name, kind, categories=tuple(sorted(common[: profiles.MAX_CATEGORIES])))
    return Column(profile.name, kind, absent=tuple(sorted(profile.others[kind])))


def _described(found: Sequence[Profile], wanted: Mapping[str, Any]) -> Iterator[Found]:
    for profile in found:
        yield Found(
            profile.name,
            *profiles.typed(profile, wanted),
            held=profile.held,
            infinite=profile.infinite,
            distinct=len(profile.categories),
            resembles="" if profile.name in wanted else profile.resembles,
            numbers_rows=profile.rising,
        )


def _write(
    raw: Path, rows: Any, files: Mapping[Path, str], roles: _Roles, columns: Sequence[Column], count: int
) -> list[Row]:
    """Write the values and the rows; return the rows."""
    listed: list[Row] = []
    parse = _parser_of_times(files, roles.time) if roles.time else values.number

    def blocks() -> Iterator[np.ndarray]:
        for path, split in files.items():
            names, first = records.header(path), len(listed)
            own = [name for name in names if name in roles.others()]
            for block in records.blocks(path):
                cells = dict(zip(names, records.columns_of(block), strict=True))
                start = len(listed) - first
                for number in range(len(block)):
                    of = {name: cells[name][number] for name in own}
                    listed.append(_row(roles, of, path, start + number + 1, split, parse))
                encoded = [_encoded(column, cells[column.name]).astype(np.float32) for column in columns]
                yield np.stack(encoded, 1)

    write_array(raw / VALUES, count, blocks())
    rows.writerows(listed)
    return listed


def _row(
    roles: _Roles, of: Mapping[str, str], path: Path, number: int, split: str, parse: Callable[[str], float]
) -> Row:
    """The row with these values of columns that are not inputs."""
    own = listing.stripped(of.get(roles.split, ""))
    where = f"{path}, row {number},"
    if own and not listing.split_named(own):
        raise DarkroomError(f"{where} has the split {own!r}: it must be train, val, test or empty.")
    ignored = {name: values.category(of[name])[:MAX_TEXT] for name in roles.ignored}
    return Row(
        id=listing.stripped(of.get(roles.id, "")) or f"{path.stem}/{number:05}",
        label=values.category(of[roles.target]),
        split=listing.split_named(own) or split,
        group=listing.stripped(of.get(roles.group, "")),
        time=_time(of[roles.time], parse, where) if roles.time else "",
        columns=json.dumps(ignored, ensure_ascii=False) if ignored else "",
    )


def _parser_of_times(files: Iterable[Path], name: str) -> Callable[[str], float]:
    """`values.number` or `values.day`: all times are what the first one is. Numbers and dates have no common order."""
    cells = (
        row[place]
        for path in files
        for place in [records.header(path).index(name)]
        for block in records.blocks(path)
        for row in block
    )
    try:
        values.number(next((cell for cell in cells if not values.is_missing(cell)), ""))
    except ValueError:
        return values.day
    return values.number


def _time(given: str, parse: Callable[[str], float], where: str) -> str:
    try:
        found = parse(given)
    except ValueError:
        found = np.nan
    if np.isnan(found):
        wanted = "a number" if parse is values.number else "a date such as 2024-01-31"
        raise DarkroomError(f"{where} has the time {given!r}: it must be {wanted}, as the first one.")
    return repr(found)


def _encoded(column: Column, cells: Sequence[str]) -> np.ndarray:
    """`Column.value` of each cell: (n,). What is neither a number nor a date is missing."""
    if column.kind == "category":
        known = {cell: column.value(cell) for cell in set(cells)}
        return np.fromiter((known[cell] for cell in cells), np.float64, len(cells))
    return (values.days if column.kind == "date" else values.numbers)(cells)


def _positive(dataset: TableFolder, classes: Sequence[str], counts: Mapping[str, int]) -> str | None:
    """The class whose probability is the risk: that of dataset.yaml, one of _AFFIRMATIVE, or the rarer one of two."""
    if dataset.positive is not None:
        positive = values.category(dataset.positive)
        if positive not in classes:
            raise DarkroomError(
                f"{dataset.folder}/dataset.yaml: positive = {positive!r} is not a class; the classes are "
                f"{', '.join(classes)}."
            )
        if len(classes) != 2:
            there = f"but there are {len(classes)} classes: put them together, or remove the key."
            raise DarkroomError(f"{dataset.folder}/dataset.yaml: positive = {positive!r} needs two classes, {there}")
        return positive
    if len(classes) != 2:
        return None
    named = [name for name in classes if name.casefold() in _AFFIRMATIVE]
    return named[0] if named else min(classes, key=lambda name: counts[name])


def _require_unique(dataset: TableFolder, listed: Sequence[Row]) -> None:
    seen: set[str] = set()
    for row in listed:
        if row.id in seen:
            raise DarkroomError(
                f"{dataset.folder} has the id {row.id!r} twice: every row needs its own. If the column is not an id of "
                "rows, rename it, or make it the `group` in dataset.yaml."
            )
        seen.add(row.id)
