"""The histories of users: filtered, cut into training, validation and test examples, and packed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.core.arrays import SPLITS, TEXT, Manifest
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_array, write_csv, write_json
from darkroom.core.spelling import counted
from darkroom.datasets import events
from darkroom.datasets import histories as index
from darkroom.datasets.histories import Index
from darkroom.preprocess import arrays_folder, duplicates, event_splits, history_report, item_features, raw_data
from darkroom.preprocess.arrays_folder import Packed
from darkroom.preprocess.config import PreprocessConfig
from darkroom.preprocess.samples import Samples
from darkroom.preprocess.selection import Selection

write_samples, facts, counts = history_report.write, history_report.facts, history_report.counts  # of the report


class Histories:
    """See `selection.Examples`; nothing is cleaned, because events that are alike are not copies of each other."""

    def __init__(self, folder: str | Path, settings: PreprocessConfig):
        self._settings = settings.history
        self.description = raw_data.describe(folder)
        self._index = index.read(folder)
        self._table, self._summary = _filtered(self._index, settings)
        length, users, times = self._settings.max_length, self._table["user"], self._table["time"]
        if self._settings.split == "time":
            val, test = event_splits.cuts(times, settings.val_fraction, settings.test_fraction)
            self._summary |= {"val_from": val, "test_from": test}
            self._windows = event_splits.cut_in_time(users, times, length, val, test)
        else:
            self._windows = event_splits.leave_one_out(users, length)
        self._require_splits()
        self.classes, self._tokens = _catalogue(
            self._index, self._table["item"], self._windows.trained, self._settings.min_item_events
        )
        labels = self._tokens[self._windows.label].astype(np.int64) - 1
        names = np.array(self._index.users, TEXT)[self._windows.user]
        self.samples = Samples(
            _ids(self._windows, names), labels, self._windows.split, np.full(len(labels), "", TEXT), {"user": names}
        )
        self.unusable: dict[int, str] = {}
        self.notices = [*_notices(self._summary, self._settings.min_user_events, self._settings.min_item_events)]
        if self._settings.split == "time":
            later, tested = len(np.unique(users[times >= test])), int((self._windows.split == "test").sum())
            self.notices.append(
                f"validation from {_date(val)} and test from {_date(test)} on: of {counted(later, 'user')} with events "
                f"since then, {tested:,} have earlier ones"
            )

    def __enter__(self) -> "Histories":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _require_splits(self) -> None:
        sizes = {split: int((self._windows.split == split).sum()) for split in SPLITS}
        if empty := [split for split, size in sizes.items() if not size]:
            users = len(np.unique(self._table["user"]))
            raise DarkroomError(
                f"{self.description.folder}: the split {empty[0]} has no histories: {counted(users, 'user')} with "
                f"{counted(len(self._table), 'event')} are left. Lower preprocess.history.min_user_events or "
                "min_item_events, or add events: a user needs 4 for all splits."
            )

    def write(self, folder: str | Path, samples: Samples, classes: tuple[str, ...]) -> Manifest:
        """Write the items of the events of each example, and the table of items; see `arrays_folder.write`."""
        known, given = item_features.build(self._index.features, classes)
        trained = np.bincount(self._tokens[self._windows.trained] - 1, minlength=len(classes))
        titles = [self._index.titles.get(name, "") for name in classes]

        def pack_inputs(temporary: Path, indices: Mapping[str, np.ndarray]) -> Packed:
            table = pd.DataFrame({"item": classes, "title": titles, "train_events": trained})
            write_csv(temporary / "items.csv", table)
            described = (temporary / "items.csv").read_bytes()
            if known:
                write_array(temporary / "items.features.npy", len(given), [given])
                write_json(temporary / "features.json", known)
                described += given.tobytes()
            write_json(temporary / history_report.SUMMARY, self._summary | self._measured())
            digests = {name: hashlib.sha256(described) for name in indices}
            for name, chosen in indices.items():
                blocks = arrays_folder.digested(chosen, self._inputs, digests[name])
                write_array(temporary / f"{name}.inputs.npy", len(chosen), blocks)
                if name != "train":
                    seen = self._seen(chosen)
                    write_array(temporary / f"{name}.seen.npy", len(seen), [seen])
                    digests[name].update(seen.tobytes())
            shape = self._settings.max_length, len(classes) + 1, len(known)
            unused = {"mean": (), "std": (), "resize": "", "interpolation": "", "crop_fraction": 1.0}
            said = {name: getattr(self.description, name) for name in (*events.NAMES, "min_rating")}
            said = {name: value for name, value in said.items() if value is not None}
            return Packed(digests, {"kind": "history", "shape": shape, "events": said, **unused})

        return arrays_folder.write(folder, samples, self.description, classes, pack_inputs)

    def _inputs(self, chosen: np.ndarray) -> np.ndarray:
        """The packed histories (n, L) int32 of the examples at `chosen` (n,)."""
        start, label = self._windows.start[chosen, None], self._windows.label[chosen, None]
        place = start + np.arange(self._settings.max_length)
        return np.where(place < label, self._tokens[np.minimum(place, len(self._tokens) - 1)], 0).astype(np.int32)

    def _seen(self, chosen: np.ndarray) -> np.ndarray:
        """All events before those of the examples at `chosen` (n,), also of inputs that are cut.

        They are (M, 2) int32: the number of the example, and the token of the item.
        """
        label = self._windows.label[chosen]
        first = np.searchsorted(self._table["user"], self._table["user"][label])
        rows = np.repeat(np.arange(len(chosen)), label - first)
        place = np.arange(len(rows)) + np.repeat(label - np.cumsum(label - first), label - first)
        return np.stack([rows, self._tokens[place]], 1).astype(np.int32)

    def _cut(self) -> int:
        """How many test histories are longer than what the network sees of them."""
        label = self._windows.label[self._windows.split == "test"]
        first = np.searchsorted(self._table["user"], self._table["user"][label])
        return int((label - first > self._settings.max_length).sum())

    def _measured(self) -> dict[str, object]:
        """What the report says of all events that are left."""
        users, times = self._table["user"], self._table["time"]
        per_user = np.unique(users, return_counts=True)[1]
        same = users[1:] == users[:-1]
        pairs = np.unique(np.stack([users, self._table["item"]]), axis=1).shape[1]
        evaluated = {
            split: (self._windows.label - self._windows.start)[self._windows.split == split] for split in SPLITS
        }
        return {
            "users": len(per_user),
            "items": len(np.unique(self._table["item"])),
            "events": len(users),
            "repeated_events": len(users) - pairs,
            "simultaneous_events": int((np.diff(times)[same] == 0).sum()),  # of which the file alone gives the order
            "cut_histories": self._cut(),
            "first_event": float(times.min()),
            "last_event": float(times.max()),
            "quantiles": {
                "events_per_user": history_report.quantiles(per_user),
                "seconds_between_events": history_report.quantiles(np.diff(times)[same]),
                **{f"{split}_inputs": history_report.quantiles(found) for split, found in evaluated.items()},
            },
        }


def select(examples: Histories, settings: PreprocessConfig, seed: int) -> Selection:
    """All examples, in the splits that they have."""
    none = np.empty(0, np.int64)
    pairs = pd.DataFrame({"first": none, "second": none, "difference": 0.0, "mirrored": False})
    table = duplicates.pair_table(pairs, examples.samples, examples.classes)
    return Selection(examples.samples, examples.classes, [], table)


def _filtered(found: Index, settings: PreprocessConfig) -> tuple[np.ndarray, dict[str, float]]:
    """The events that are left, by user and time, and how many were left out."""
    wanted = settings.history
    table = found.events[event_splits.in_order(found.events)]
    single = int((np.bincount(table["user"]) == 1).sum())
    kept = event_splits.core(table["user"], table["item"], wanted.min_user_events, wanted.min_item_events)
    if not kept.any():
        raise DarkroomError(
            f"preprocess.history: of {counted(len(table), 'event')} none is left, with at least "
            f"{wanted.min_user_events} per user and {wanted.min_item_events} per item: lower min_user_events or "
            "min_item_events."
        )
    left = table[kept]
    return left, {
        "duplicate_events": len(found.events) - len(table),
        "single_event_users": single,
        "rare_users": len(np.unique(table["user"])) - len(np.unique(left["user"])),
        "rare_items": len(np.unique(table["item"])) - len(np.unique(left["item"])),
        "rare_events": len(table) - len(left),
    }


def _catalogue(found: Index, items: np.ndarray, trained: np.ndarray, least: int) -> tuple[tuple[str, ...], np.ndarray]:
    """The items that are classes, and the token (N,) int32 of each event.

    Those with most training events come first; of equally many, by their names. The others of items.csv are classes too
    if no item is left out for having fewer than `least` events, and if items have features, from which a network can
    tell who would like them.
    """
    names = np.array(found.items, TEXT)
    numbers = np.unique(items)
    counts = np.bincount(items[trained], minlength=len(names))[numbers]
    order = np.lexsort((np.argsort(np.argsort(names[numbers])), -counts))
    tokens = np.zeros(len(names), np.int32)
    tokens[numbers[order]] = np.arange(1, len(numbers) + 1)
    used = names[numbers[order]].tolist()
    new = sorted(found.titles.keys() - set(used)) if found.features and least == 1 else []
    return (*used, *new), tokens[items]


def _ids(windows: event_splits.Windows, names: np.ndarray) -> np.ndarray:
    """Such as user 12/test, or user 12/train/3, counted from the latest."""
    found, seen = [], dict[str, int]()
    for split, name in zip(windows.split.tolist(), names.tolist(), strict=True):
        if split == "train":
            seen[name] = seen.get(name, 0) + 1
            found.append(f"user {name}/train/{seen[name]}")
        else:
            found.append(f"user {name}/{split}")
    return np.array(found, TEXT)


def _date(seconds: float) -> str:
    return str(np.datetime64(int(seconds), "s").astype("datetime64[D]"))


def _notices(summary: Mapping[str, float], least_of_user: int, least_of_item: int) -> list[str]:
    said = []
    if duplicated := summary["duplicate_events"]:
        said.append(f"{counted(duplicated, 'event')} left out: the same user, item and time as another")
    if users := summary["rare_users"]:
        single = f", {summary['single_event_users']:,} of them with one" if summary["single_event_users"] else ""
        said.append(f"{counted(users, 'user')} left out: fewer than {least_of_user} events{single}")
    if items := summary["rare_items"]:
        few = f"fewer than {least_of_item} events, or " if least_of_item > 1 else ""
        said.append(f"the events of {counted(items, 'item')} left out: {few}of such users alone")
    return said
