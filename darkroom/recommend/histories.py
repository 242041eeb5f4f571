"""What users did: the items in packed histories, those that a user has had before an example, and what came next."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import sparse

from darkroom.core import arrays
from darkroom.recommend import ranking
from darkroom.recommend.ranking import SHOWN

USER = "user"  # the column of a split that names whose history it is


def left_out(folder: str | Path, split: str, seen_items: str) -> sparse.csr_array:
    """The items (N, items) bool that are not recommended for the examples of a split, by `evaluate.seen_items`."""
    found = seen(folder, split)
    return found if seen_items == "leave_out" else sparse.csr_array(found.shape, dtype=bool)


def hits(folder: str | Path, split: str, scores: Callable[[np.ndarray], np.ndarray], seen_items: str) -> np.ndarray:
    """(N,) bool: whether the next item of each example of a split is among the first SHOWN; their mean is HR@10.

    `scores` turns some of the histories (n, L) into scores of all items (n, items).
    """
    examples = arrays.read_split(folder, split)
    left = left_out(folder, split, seen_items)
    return ranking.in_blocks(scores, examples.inputs, np.asarray(examples.labels), left).hits(SHOWN)


def seen(folder: str | Path, split: str) -> sparse.csr_array:
    """The items (N, items) bool that a user has had before each example of a split: a packed history has the latest."""
    rows, tokens = np.load(Path(folder) / f"{split}.seen.npy", allow_pickle=False).T
    shape = len(arrays.read_split(folder, split)), len(arrays.read_manifest(folder).classes)
    return sparse.coo_array((np.ones(len(rows), np.int32), (rows, tokens - 1)), shape).tocsr().astype(bool)


def of_users(folder: str | Path, split: str) -> tuple[np.ndarray, sparse.csr_array]:
    """The names (U,) of the users of a split, and the items (U, items) bool that they had in it."""
    own, items = arrays.read_split(folder, split), len(arrays.read_manifest(folder).classes)
    names, number = np.unique(users(folder, split), return_inverse=True)
    examples = contents(own.inputs, items, own.labels)
    rows = sparse.csr_array((np.ones(len(number), bool), (number, np.arange(len(number)))), (len(names), len(number)))
    return names, (rows @ examples).astype(bool)


def users(folder: str | Path, split: str) -> np.ndarray:
    """The name (N,) of the user of each example."""
    return arrays.read_columns(folder, split)[USER]


def contents(inputs: np.ndarray, items: int, labels: np.ndarray | None = None) -> sparse.csr_array:
    """The items (N, items) bool of histories (N, L) int32, padded with 0; those of `labels` (N,) too."""
    rows, positions = np.nonzero(inputs)
    columns = np.asarray(inputs)[rows, positions].astype(np.int64) - 1
    if labels is not None:
        rows, columns = np.append(rows, np.arange(len(inputs))), np.append(columns, labels)
    found = sparse.coo_array((np.ones(len(rows), np.int32), (rows, columns)), (len(inputs), items)).tocsr()
    return found.astype(bool)
