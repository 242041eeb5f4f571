"""Recommend items to the users of tables of events, for `darkroom.predict.batch`: some rows per user."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from darkroom.bundle.classifier import Bundle
from darkroom.bundle.histories import Recommended, Recommender
from darkroom.bundle.manifest import Events as Given
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_file
from darkroom.core.spelling import counted
from darkroom.datasets import events
from darkroom.datasets.events import Columns, Events
from darkroom.predict.table import inputs, line

COUNT = 10  # items per user
BLOCK = 256  # users at a time
COLUMNS = ["user", "rank", "item", "title", "probability", "based_on", "bundle"]


def run(bundle: Bundle, paths: Sequence[Path], options: argparse.Namespace, version: str) -> int:
    """Recommend items to all users of the events at `paths`, files or folders; returns the exit code of `batch.main`.

    It is 1 if no user has a known item. Columns and the lowest rating are those of the training data; a column that is
    missing is the one with a usual name. Raises DarkroomError if the events cannot be read.
    """
    given = bundle.manifest.events
    files = inputs(paths, partial(_tables, given=given), options.output)
    if not files:
        kinds = ", ".join(events.SUFFIXES)
        raise DarkroomError(f"{', '.join(map(str, paths))}: no tables with a column of users found ({kinds}).")
    recommender = Recommender(bundle)
    recommender.prepare()
    columns = {file: events.columns(file, _present(given, events.header(file))) for file in files}
    found = events.read(columns, _lowest(given, columns))
    names, histories = list(found.users), _histories(found, recommender)
    count, popular, rows, unknown = options.count or COUNT, 0, 0, 0
    with _replaced(options.output) as table, tqdm(total=len(names), desc="predict", unit="user", disable=None) as bar:
        table.write(line(COLUMNS))
        for start in range(0, len(names), BLOCK):
            known, others = zip(*histories[start : start + BLOCK], strict=True)
            answers = recommender.recommend_after(known, others, count, not options.keep_seen)
            for user, answer in zip(names[start : start + BLOCK], answers, strict=True):
                table.writelines(line([user, *row, version]) for row in _rows(recommender, answer))
                popular, rows, unknown = popular + answer.popular, rows + len(answer.items), unknown + answer.unknown
            bar.update(len(answers))
    where = sys.stderr if options.output == "-" else sys.stdout
    if found.low:
        print(
            f"{counted(found.low, 'event')} below min_rating = {given.min_rating:g} left out, as in training",
            file=where,
        )
    print(
        f"{options.output}: {counted(rows, 'row')} of {counted(len(names), 'user')}; {unknown:,} of "
        f"{counted(len(found.table), 'event')} with unknown items; {counted(popular, 'user')} without a known item",
        file=where,
    )
    return int(popular == len(names))


def _present(given: Given, names: Sequence[str]) -> dict[str, str | None]:
    """The columns of the training data by role; None where the table has none of that name."""
    return {role: name if (name := getattr(given, role)) in names else None for role in events.NAMES}


def _lowest(given: Given, columns: Mapping[Path, Columns]) -> float | None:
    """The lowest rating that counts; None: events of all ratings count."""
    without = [str(file) for file, names in columns.items() if names.rating is None]
    if given.min_rating is None or not without:
        return given.min_rating
    print(
        f"{without[0]} has no column of ratings: all events count. In training, the lowest rating that counted was "
        f"{given.min_rating:g}.",
        file=sys.stderr,
    )
    return None


def _tables(folder: Path, given: Given) -> list[Path]:
    """The tables of events in a folder, which may be that of a dataset: tables of items are skipped, and named."""
    found = []
    for path in events.tables(folder):
        if _lists_items(path, given):
            print(f"{path} has no column of users: skipped as a table of items.", file=sys.stderr)
        else:
            found.append(path)
    return found


def _lists_items(path: Path, given: Given) -> bool:
    names = events.header(path)
    present = _present(given, names)
    user, item, time = (present[role] or events.named(names, role) for role in ("user", "item", "time"))
    return user is None and (path.stem.casefold() == "items" or (item is not None and time is None))


def _histories(found: Events, recommender: Recommender) -> list[tuple[np.ndarray, int]]:
    """The known items (n,) int64 of each user by time, as indices, and how many others there are."""
    indices = np.array([recommender.indices.get(item, -1) for item in found.items], np.int64)
    _, first = np.unique(found.table, return_index=True)  # an event that is given twice counts once, as in training
    table = found.table[np.sort(first)]
    table = table[np.lexsort((table["time"], table["user"]))]  # stable: equal times keep the order of the file
    users, items = table["user"], indices[table["item"]]
    parts = np.split(items, np.searchsorted(users, np.arange(1, len(found.users))))
    return [(part[part >= 0], int((part < 0).sum())) for part in parts]


def _rows(recommender: Recommender, answer: Recommended) -> Iterator[list[str]]:
    classes, titles = recommender.bundle.manifest.classes, recommender.catalogue.titles
    based_on = "popularity" if answer.popular else "history"
    pairs = zip(answer.items.tolist(), answer.probabilities.tolist(), strict=True)
    for rank, (index, probability) in enumerate(pairs, 1):
        yield [str(rank), classes[index], titles[index], f"{probability:.6g}", based_on]


@contextmanager
def _replaced(output: str) -> Iterator[BinaryIO]:
    """Open the table to write; at the end it replaces an earlier one, and `-` is the standard output.

    Raises DarkroomError if the file exists and is not such a table.
    """
    if output == "-":
        with open(1, "wb", closefd=False) as table:
            yield table
        return
    path = Path(output)
    if path.exists() and not (path.is_file() and _is_table(path)):
        raise DarkroomError(f"{output} exists and is not a table of recommendations: choose another --output.")
    with new_file(path) as temporary, temporary.open("wb") as table:
        yield table


def _is_table(path: Path) -> bool:
    header = line(COLUMNS)
    with path.open("rb") as file:
        return file.read(len(header)) in (header, b"")
