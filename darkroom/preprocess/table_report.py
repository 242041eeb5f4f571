"""What the report on the data says of the columns of a table: their kinds, values, and what is odd about them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.columns import schema
from darkroom.columns.schema import MISSING, UNKNOWN, Column
from darkroom.core.arrays import SPLITS, Manifest, Split
from darkroom.core.outputs import write_csv
from darkroom.core.spelling import counted
from darkroom.datasets import profiles, table_folder
from darkroom.datasets.table_folder import Found

ARRAYS, RAW = "data/arrays", "data/raw"
LEAKING = 0.99  # ROC AUC of a column alone from which it may hold what is to be predicted
LEAKS, NOTATION = "may leak the target", "may be numbers or dates in another notation"
WARNINGS = {  # notes that are shown on the terminal too, and what to do
    LEAKS: "`ignore` in dataset.yaml what is not known yet when a prediction is made",
    NOTATION: "write numbers as 1234.5 and dates as 2024-01-31",
}
ID_LIKE, NUMBERED = 0.9, 0.99  # different texts, or whole numbers (float32 merges some), as a fraction of those there
MIN_HELD = 100  # texts or numbers; fewer may differ by chance
_BINS = 50


def facts(manifest: Manifest, splits: Mapping[str, Split]) -> dict[str, float]:
    """Numbers for metrics/preprocess.json: of the training split."""
    rows, shape = splits["train"].inputs, np.array(manifest.shape)
    held, indices = rows[:, shape == 0], rows[:, shape > 0]
    return {
        "columns": len(shape),
        "categorical_columns": int((shape > 0).sum()),
        "missing_fraction": round(float((np.isnan(held).sum() + (indices == MISSING).sum()) / rows.size), 6),
        "suspect_columns": sum(bool(notes) for notes in _all_notes(splits).values()),
    }


def write(folder: Path, splits: Mapping[str, Split], manifest: Manifest, seed: int) -> None:
    """Write columns.csv to `folder`: one row per column.

    column, kind and why; the fractions of missing and unknown values, lowest and highest number, and number of
    different values; ROC AUC of the column alone, on validation and test rows; what is odd about it. To correct a kind,
    name the column in `categorical`, `numeric` or `ignore` of dataset.yaml.
    """
    found = {one.name: one for one in table_folder.read_profiles(RAW)}
    notes = _all_notes(splits)
    rows = []
    for index, column in enumerate(_columns()):
        own, auc = {name: splits[name].inputs[:, index] for name in SPLITS}, alone(column, splits, index)
        rows.append(
            {
                "column": column.name,
                "kind": column.kind,
                "reason": found[column.name].reason,
                "distinct": found[column.name].distinct,
                **{f"missing_{name}": float(_missing(column, own[name]).mean()) for name in SPLITS},
                "unknown_test": float((own["test"] == UNKNOWN).mean()) if column.kind == "category" else None,
                "low": None if column.low is None else column.text(column.low),
                "high": None if column.high is None else column.text(column.high),
                "auc_alone": round(auc, 4),
                "notes": "; ".join(notes[column.name]),
            }
        )
    write_csv(folder / "columns.csv", pd.DataFrame(rows))
    for said, remedy in WARNINGS.items():
        if names := [repr(name) for name, own in notes.items() if any(note.startswith(said) for note in own)]:
            shown = f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
            print(f"Warning: {counted(len(names), 'column')} {said} ({shown}): {remedy}; see metrics/data/columns.csv.")


def alone(column: Column, splits: Mapping[str, Split], index: int) -> float:
    """How well a column alone ranks the examples: the largest ROC AUC of a class against the others.

    The score is the fraction of the class among the training rows with a similar value: of one of _BINS bins, or the
    same category. It is measured on the rows that are not trained on.
    """
    parts = splits["train"], splits["val"], splits["test"]
    values = [np.array(part.inputs[:, index]) for part in parts]
    labels = [np.asarray(part.labels) for part in parts]
    if column.kind != "category":
        held = values[0][~np.isnan(values[0])]
        edges = np.unique(np.quantile(held, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(held) else np.empty(0)
        values = [np.where(np.isnan(one), len(edges) + 1, np.searchsorted(edges, one)) for one in values]
    bins = [one.astype(np.int64) for one in values]
    others, truth = np.concatenate(bins[1:]), np.concatenate(labels[1:])
    size, best = max(int(one.max()) for one in bins) + 1, 0.5
    totals = np.bincount(bins[0], minlength=size)
    for label in np.unique(truth):
        rates = (np.bincount(bins[0], labels[0] == label, size) + 1) / (totals + 2)
        if 0 < (truth == label).sum() < len(truth):
            best = max(best, _auc(rates[others], truth == label))
    return best


def _auc(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """The area under the ROC curve of scores (N,) of few different values; ties count half."""
    _, index = np.unique(scores, return_inverse=True)
    positive, total = np.bincount(index, is_positive), np.bincount(index)
    other = total - positive
    return float((positive * (np.cumsum(other) - other / 2)).sum() / (positive.sum() * other.sum()))


def notes(found: Found, column: Column, train: np.ndarray, auc: float) -> list[str]:
    """What is odd about a column, given its training values (n,) and ROC AUC alone; empty if nothing is."""
    held = train[~_missing(column, train)]
    distinct, rare, said = len(np.unique(held)), 0, []
    if column.kind == "category":
        rare = found.distinct - len(column.categories)
        many = found.distinct > ID_LIKE * found.held or rare > profiles.MAX_CATEGORIES
        is_id = found.held >= MIN_HELD and many
    else:
        numbered = len(held) >= MIN_HELD and distinct > NUMBERED * len(held) and (held % 1 == 0).all()
        is_id = (found.numbers_rows and found.held > 2) or (numbered and column.kind == "number")
    if is_id:
        said.append("looks like an id")
    elif rare:
        said.append(f"{rare} rare categories are unknown")
    elif distinct + (len(held) < len(train)) < 2:
        said.append("constant")
    if rare and found.resembles:
        said.append(f"{NOTATION}, such as {found.resembles!r}")
    if auc >= LEAKING:
        said.append(LEAKS)
    if column.absent:
        said.append(f"{', '.join(column.absent[:5])} count as missing")
    if found.infinite:
        said.append(f"{found.infinite} infinite values count as missing")
    return said


def _all_notes(splits: Mapping[str, Split]) -> dict[str, list[str]]:
    """The notes on each column, and whether an earlier one that is not constant has the same values."""
    found = {one.name: one for one in table_folder.read_profiles(RAW)}
    said, first = {}, {}
    for index, column in enumerate(_columns()):
        own = {name: split.inputs[:, index] for name, split in splits.items()}
        auc = alone(column, splits, index)
        said[column.name] = notes(found[column.name], column, own["train"], auc)
        digest = hashlib.blake2b(b"".join(values.tobytes() for values in own.values())).digest()
        same = first.setdefault((column.kind, digest), column.name)
        if same != column.name and len(np.unique(own["train"])) > 1:
            said[column.name].append(f"same as {same}")
    return said


def _columns() -> Sequence[Column]:
    return schema.parse((Path(ARRAYS) / schema.FILE).read_bytes()).columns


def _missing(column: Column, values: np.ndarray) -> np.ndarray:
    return values == MISSING if column.kind == "category" else np.isnan(values)
