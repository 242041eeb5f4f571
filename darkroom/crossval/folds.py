"""Split examples into folds for cross-validation, with each class and no group in several of them."""

import heapq

import numpy as np

from darkroom.core.randomness import derive_seed


def assign(ids: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, count: int, seed: int) -> np.ndarray:
    """The fold, 0 to `count` - 1, of each example (N,) int64.

    A group, of those that `groups` (N,) unicode names, lies in one fold; an example with the group "" is on its own.
    Without groups, the numbers of examples of a class, and of all examples, differ by at most one between folds. With
    groups they are as even as a greedy search makes them: large groups first, each to the fold that has the smallest
    fraction of its classes.

    The folds depend on the `seed`, and on which `ids` (N,) unicode there are with which `labels` (N,) int64 and groups,
    not on their order.
    """
    fold = np.full(len(ids), -1)
    sizes = np.zeros((count, labels.max(initial=-1) + 1))  # examples by fold and class
    names = np.full(len(ids), "") if groups is None else groups
    _assign_groups(fold, sizes, names, labels, seed)
    ranks = {name: derive_seed(seed, "folds", name) for name in ids[fold < 0].tolist()}
    totals = sizes.sum(1)
    for label in range(sizes.shape[1]):
        free = np.flatnonzero((fold < 0) & (labels == label)).tolist()
        emptiest = [(sizes[number, label], totals[number], number) for number in range(count)]
        heapq.heapify(emptiest)
        for index in sorted(free, key=lambda index: ranks[ids.item(index)]):
            of_class, total, number = heapq.heappop(emptiest)
            fold[index] = number
            totals[number] += 1
            heapq.heappush(emptiest, (of_class + 1, total + 1, number))
    return fold


def _assign_groups(fold: np.ndarray, sizes: np.ndarray, names: np.ndarray, labels: np.ndarray, seed: int) -> None:
    """Set the `fold` (N,) of the examples in groups, and add them to `sizes` (folds, K)."""
    groups, members = np.unique(names, return_inverse=True)
    counts = np.zeros((len(groups), sizes.shape[1]))
    np.add.at(counts, (members, labels), 1)
    weights = 1 / np.maximum(counts.sum(0), 1) ** 2
    ranks = [derive_seed(seed, "folds", "group", name) for name in groups.tolist()]
    chosen = np.full(len(groups), -1)
    for group in np.lexsort([ranks, -counts.sum(1)]).tolist():
        if groups[group]:
            crowding = sizes @ (weights * counts[group])  # how much of the group's classes each fold has already
            number = np.lexsort([sizes.sum(1), crowding])[0]
            chosen[group] = number
            sizes[number] += counts[group]
    fold[:] = chosen[members]
