"""The rows of a table: compared, split by time if wanted, and packed; categories and ranges are those of training."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.columns import schema
from darkroom.columns.schema import FIRST, MISSING, UNKNOWN, Column, Schema
from darkroom.core.arrays import TEXT, UNLABELLED, Manifest
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_array, write_text
from darkroom.datasets import table_folder
from darkroom.preprocess import arrays_folder, raw_data, report, selection, splits, table_report
from darkroom.preprocess.arrays_folder import Packed
from darkroom.preprocess.cleaning import Scan
from darkroom.preprocess.config import PreprocessConfig
from darkroom.preprocess.samples import NO_LABEL, Samples

select, counts = selection.select, report.counts
write_samples, facts = table_report.write, table_report.facts  # of the report

MIN_CATEGORY = 5  # training rows of a category; rarer ones are unknown, which so has rows to learn from
MAX_COPIES = 0.01  # fraction of rows that equal another one; where more do, rows are equal by chance
_BLOCK = 16_384  # rows at a time


class Tables:
    """See `selection.Examples`."""

    def __init__(self, folder: str | Path, settings: PreprocessConfig):
        self.description = raw_data.describe(folder)
        self.schema, self.values, rows = table_folder.read(folder)
        labels = {"": NO_LABEL} | {name: label for label, name in enumerate(self.description.classes)}
        label = np.array([labels[row.label] for row in rows])
        own = np.array([row.split or "train" for row in rows], "<U10")
        given = np.where(label == NO_LABEL, UNLABELLED, own)
        groups = np.array([row.group for row in rows], TEXT)
        if self.description.time:
            times = latest(np.array([float(row.time) for row in rows]), groups)
            given = by_time(given, times, settings.test_fraction, settings.val_fraction)
        kept = [json.loads(row.columns or "{}") for row in rows]
        columns = {name: np.array([one[name] for one in kept], TEXT) for name in kept[0]}
        self.samples = Samples(np.array([row.id for row in rows], TEXT), label, given, groups, columns)
        self.unusable: dict[int, str] = {}
        self.aspects = np.ones(len(rows))
        first = first_equal(self.values)
        copies = float((np.bincount(first, minlength=len(first))[first] > 1).mean())
        notices = [splits.notice(self.samples, settings.test_fraction)]
        if copies > MAX_COPIES:
            notices.append(
                f"{copies:.1%} of the rows have the same values as another one: they are not copies, and are kept"
            )
            first = np.arange(len(rows))
        self.scan = Scan(first, same="same values", difference="")
        self.notices = [notice for notice in notices if notice]

    def __enter__(self) -> "Tables":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def near_duplicates(self, chosen: np.ndarray, max_difference: float) -> pd.DataFrame:
        """No pairs: rows of different clients may be alike."""
        return pd.DataFrame({"first": chosen[:0], "second": chosen[:0], "difference": 0.0, "mirrored": False})

    def write(self, folder: str | Path, samples: Samples, classes: tuple[str, ...]) -> Manifest:
        """Write the values and columns of the splits of `samples`; see `arrays_folder.write`."""

        def pack_inputs(temporary: Path, indices: Mapping[str, np.ndarray]) -> Packed:
            fitted, found = fit(self.schema, self.values, indices["train"])
            if fitted.positive not in classes:
                fitted = replace(fitted, positive=None)
            described = schema.to_json(fitted)
            write_text(temporary / schema.FILE, described)
            digests = {}
            for name, chosen in indices.items():
                digests[name] = hashlib.sha256(described.encode())
                blocks = arrays_folder.digested(chosen, lambda some: recoded(self.values[some], found), digests[name])
                write_array(temporary / f"{name}.inputs.npy", len(chosen), blocks)
            unused = {"mean": (), "std": (), "resize": "", "interpolation": "", "crop_fraction": 1.0}
            return Packed(digests, {"kind": "table", "shape": fitted.shape, **unused})

        return arrays_folder.write(folder, samples, self.description, classes, pack_inputs)


def latest(times: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The latest of the times (N,) in the group, of groups (N,) text, of each row; its own if it is in none: (N,)."""
    names, index = np.unique(groups, return_inverse=True)
    found = np.full(len(names), -np.inf)
    np.maximum.at(found, index, times)
    return np.where(groups == "", times, found[index])


def by_time(given: np.ndarray, times: np.ndarray, test_fraction: float, val_fraction: float) -> np.ndarray:
    """The splits (N,) of rows at `times` (N,): the latest are the test set, those before them the validation set.

    Splits that the dataset has are kept, and so are unlabelled rows. Rows of one time stay together. Raises
    DarkroomError if a split would be empty.
    """
    found = given.copy()
    for split, fraction in (("test", test_fraction), ("val", val_fraction)):
        if split in given:
            continue
        rows = np.flatnonzero(found == "train")
        cut = np.sort(times[rows])[-max(1, round(fraction * len(rows))) :][:1]
        later = rows[times[rows] >= cut] if len(cut) else rows
        if not 0 < len(later) < len(rows):
            raise DarkroomError(
                f"The {split} split by time would have {len(later)} of {len(rows)} rows: choose a column with more "
                "different times, or remove `time` from dataset.yaml."
            )
        found[later] = split
    return found


def first_equal(values: np.ndarray) -> np.ndarray:
    """The index (N,) int64 of the first row with the same values as each of (N, C) float32."""
    digests = np.empty(len(values), "S16")
    for start in range(0, len(values), _BLOCK):
        block = np.ascontiguousarray(values[start : start + _BLOCK])
        digests[start : start + len(block)] = [
            hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            for row in block + np.float32(0)  # -0 is 0
        ]
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    return first[inverse]


def fit(given: Schema, values: np.ndarray, train: np.ndarray) -> tuple[Schema, list[np.ndarray | None]]:
    """The columns as the rows `train` (n,) show them, and for each the new index of each old one, or None for numbers.

    A category with fewer than MIN_CATEGORY training rows is unknown.
    """
    columns, found = [], []
    for index, column in enumerate(given.columns):
        own = np.concatenate([values[part, index] for part in np.array_split(train, max(1, len(train) // _BLOCK))])
        fitted, recoding = _fit(column, own)
        columns.append(fitted)
        found.append(recoding)
    return replace(given, columns=tuple(columns)), found


def _fit(column: Column, own: np.ndarray) -> tuple[Column, np.ndarray | None]:
    if column.kind != "category":
        held = own[~np.isnan(own)]
        low, high = (float(held.min()), float(held.max())) if len(held) else (None, None)
        return replace(column, low=low, high=high), None
    counts = np.bincount(own.astype(np.int64), minlength=column.size)
    kept = [index for index in range(FIRST, column.size) if counts[index] >= MIN_CATEGORY]
    recoding = np.full(column.size, UNKNOWN)
    recoding[MISSING] = MISSING
    recoding[kept] = np.arange(FIRST, FIRST + len(kept))
    return replace(column, categories=tuple(column.categories[index - FIRST] for index in kept)), recoding


def recoded(block: np.ndarray, found: list[np.ndarray | None]) -> np.ndarray:
    """Rows (n, C) float32 with the new indices of categories."""
    new = np.array(block)
    for index, recoding in enumerate(found):
        if recoding is not None:
            new[:, index] = recoding[block[:, index].astype(np.int64)]
    return new
