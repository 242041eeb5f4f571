"""Hide labels of training examples, to try out few labels on data whose labels are known.

A hidden example becomes an unlabelled one. Its id, its columns and its group are replaced, because they may name the
class. The examples that keep their label are the first ones of a random order of each class that depends only on the
seed and the ids, so a larger number of labels contains every smaller one.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from darkroom.core.arrays import HIDDEN, TEXT, UNLABELLED
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import derive_seed
from darkroom.core.spelling import counted
from darkroom.preprocess.samples import NO_LABEL, Samples


def hidden_ids(ids: np.ndarray, seed: int) -> np.ndarray:
    """The ids (N,) TEXT that the examples with these `ids` (N,) have while their label is hidden.

    They number the examples of the dataset in a random order, such as hidden/000123.
    """
    places = np.empty(len(ids), dtype=np.int64)
    places[np.argsort(_ranks(ids, seed, "hidden"))] = np.arange(len(ids))
    return np.array([f"{HIDDEN}{place:06}" for place in places.tolist()], dtype=TEXT)


def choose(
    samples: Samples, candidates: np.ndarray, pixels: np.ndarray, count: int, classes: Sequence[str], seed: int
) -> np.ndarray:
    """Indices (n,) int64 of the `candidates` to hide: all but `count` training examples of each class.

    Candidates that cleaning removed from training are hidden, too. `pixels` (N,) int64 is equal for identical images:
    all candidates with a copy among them are hidden, because which copy cleaning keeps depends on all of their labels.
    Raises DarkroomError if a class has fewer examples.
    """
    copies = np.bincount(pixels[candidates], minlength=pixels.max() + 1)
    train = samples.indices("train")
    train = train[copies[pixels[train]] == 1]
    ranks = _ranks(samples.ids[train], seed, "labels")
    found = np.bincount(samples.labels[train], minlength=len(classes))
    if found.min() < count:
        least = (
            f"the class {classes[found.argmin()]!r} has {counted(int(found.min()), 'training example')} without copies"
        )
        raise DarkroomError(f"preprocess.labels_per_class = {count}: {least}: set at most {found.min()}, or all.")
    order = train[np.lexsort([ranks, samples.labels[train]])]
    starts = np.cumsum(found) - found
    shown = np.concatenate([order[start : start + count] for start in starts.tolist()])
    return np.setdiff1d(candidates, shown)


def hide(samples: Samples, indices: np.ndarray, names: np.ndarray) -> Samples:
    """The examples at `indices` (n,) as unlabelled ones with the ids of `names` (N,) and without columns.

    They keep their group, which `forget_groups` removes once it is not needed any more.
    """
    ids, labels = samples.ids.astype(TEXT), samples.labels.copy()
    ids[indices], labels[indices] = names[indices], NO_LABEL
    columns = {name: _emptied(column, indices) for name, column in samples.columns.items()}
    return replace(samples, ids=ids, labels=labels, columns=columns, hidden=indices).move(indices, UNLABELLED)


def forget_groups(samples: Samples, indices: np.ndarray) -> Samples:
    """The samples without the groups of those at `indices` (n,)."""
    return replace(samples, groups=_emptied(samples.groups, indices))


def _emptied(column: np.ndarray, indices: np.ndarray) -> np.ndarray:
    column = column.copy()
    column[indices] = ""
    return column


def _ranks(ids: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """A random number (N,) int64 for each id."""
    return np.fromiter((derive_seed(seed, purpose, name) for name in ids.tolist()), np.int64, len(ids))
