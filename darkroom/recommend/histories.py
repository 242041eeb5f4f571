"""What users did: the items in packed histories, and those that a user has had before an example."""

from pathlib import Path

import numpy as np
from scipy import sparse

from darkroom.core import arrays
from darkroom.core.arrays import SPLITS

USER = "user"  # the column of a split that names whose history it is


def left_out(folder: str | Path, split: str, items: int, seen_items: str) -> sparse.csr_array:
    """The items (N, items) bool that are not recommended to the users of a split, by `evaluate.seen_items`.

    For leave_out these are the items that a user has had: those of the example's history, and of the user's examples
    in earlier splits, with their labels. A packed history has the latest items only, so these count too.
    """
    own = arrays.read_split(folder, split)
    if seen_items == "keep":
        return sparse.csr_array((len(own), items), dtype=bool)
    names, found = users(folder, split), contents(own.inputs, items)
    for earlier in SPLITS[: SPLITS.index(split)]:
        known, events = of_users(folder, earlier, items)
        place = {name: number for number, name in enumerate(known.tolist())}
        rows = np.array([place.get(name, -1) for name in names.tolist()], np.int64)
        chosen = sparse.csr_array(
            (np.ones((rows >= 0).sum(), bool), (np.flatnonzero(rows >= 0), rows[rows >= 0])), (len(rows), len(known))
        )
        found = found + chosen @ events
    return found.astype(bool)


def of_users(folder: str | Path, split: str, items: int) -> tuple[np.ndarray, sparse.csr_array]:
    """The names (U,) of the users of a split, and the items (U, items) bool that they had in it."""
    own = arrays.read_split(folder, split)
    names, number = np.unique(users(folder, split), return_inverse=True)
    examples = contents(own.inputs, items, own.labels)
    rows = sparse.csr_array((np.ones(len(number), bool), (number, np.arange(len(number)))), (len(names), len(number)))
    return names, (rows @ examples).astype(bool)


def users(folder: str | Path, split: str) -> np.ndarray:
    """The name (N,) of the user of each example."""
    return arrays.read_columns(folder, split)[USER]


def contents(inputs: np.ndarray, items: int, labels: np.ndarray | None = None) -> sparse.csr_array:
    """The items (N, items) bool of histories (N, L) int32, padded with 0; those of `labels` (N,) too."""
    rows, places = np.nonzero(inputs)
    columns = np.asarray(inputs)[rows, places].astype(np.int64) - 1
    if labels is not None:
        rows, columns = np.append(rows, np.arange(len(inputs))), np.append(columns, labels)
    found = sparse.coo_array((np.ones(len(rows), np.int32), (rows, columns)), (len(inputs), items)).tocsr()
    return found.astype(bool)


