"""Recommenders without a network, which a network has to beat: popularity, item-kNN and EASE.

They learn from the events of the training histories alone. At the test they get the same input as the network: the
latest items of a history, (n, L) int32, oldest first, padded with 0. Where a baseline has a setting, it is the one with
the highest NDCG@10 on validation histories.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from darkroom.core.errors import DarkroomError
from darkroom.recommend.histories import contents
from darkroom.recommend.ranking import VALUES

NEIGHBOURS = 200  # of an item
HALF_LIVES = (1.0, 2.0, 4.0, 16.0)  # events after which an event counts half
PENALTIES = (100.0, 500.0)  # of the squares of EASE's weights
EASE_ITEMS = 5000  # the most popular ones: two matrices of 200 MB
_LAST = -1e30  # the score of items that EASE does not know


class Baseline(Protocol):
    """A recommender without a network."""

    setting: str  # what was chosen on the validation histories

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """Scores (n, items) float32 of all items for histories (n, L) int32; higher is better."""
        ...


def fit(
    events: sparse.csr_array, train_events: np.ndarray, quality: Callable[[Baseline], float]
) -> dict[str, Baseline]:
    """All baselines by name, from the items (U, items) bool of the training users and the events (items,) of each item.

    Of several settings it is the one with the highest `quality`.
    """
    similar = similarities(events)
    return {
        "popularity": Popularity(train_events),
        "item_knn": max((ItemKnn(similar, half_life) for half_life in HALF_LIVES), key=quality),
        "ease": max((Ease(events, penalty) for penalty in PENALTIES), key=quality),
    }


class Popularity:
    """The same items for everyone: those with most training events."""

    setting = ""

    def __init__(self, train_events: np.ndarray):
        self._scores = train_events.astype(np.float32)

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """See `Baseline`."""
        return np.repeat(self._scores[None], len(inputs), axis=0)


class ItemKnn:
    """Items that the same users had: the sum of the similarities to the items of a history, recent ones counting more.

    The cosine of the users (U, items) of two items, of the NEIGHBOURS most similar ones: Sarwar, Karypis, Konstan and
    Riedl, "Item-based collaborative filtering recommendation algorithms", WWW 2001. An event counts half after
    `half_life` later ones.
    """

    def __init__(self, similar: sparse.csr_array, half_life: float):
        self._similar, self._half_life = similar, half_life
        self.setting = f"half_life={half_life:g}"

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """See `Baseline`."""
        rows, places = np.nonzero(inputs)
        ages = (inputs != 0).sum(1)[rows] - 1 - places
        weights = 0.5 ** (ages / self._half_life)
        columns = np.asarray(inputs)[rows, places].astype(np.int64) - 1
        weighted = sparse.csr_array((weights, (rows, columns)), (len(inputs), self._similar.shape[0]))
        return (weighted @ self._similar).toarray().astype(np.float32)


def similarities(events: sparse.csr_array) -> sparse.csr_array:
    """The cosines (items, items) float32 of the NEIGHBOURS most similar items of each item; 0 with itself.

    From events (U, items) bool; column j has the neighbours of item j.
    """
    norms = np.sqrt(np.maximum(np.asarray(events.sum(0)), 1.0))
    columns = []
    for start, counts in _common_users(events, np.arange(events.shape[1])):
        width = counts.shape[1]
        found = (counts / norms[:, None] / norms[None, start : start + width]).astype(np.float32)
        found[np.arange(start, start + width), np.arange(width)] = 0
        most = min(NEIGHBOURS, len(found))
        limits = np.partition(found, len(found) - most, axis=0)[len(found) - most]
        columns.append(sparse.csc_array(np.where(found >= np.maximum(limits, 1e-12), found, 0)))
    return sparse.hstack(columns, format="csr")


class Ease:
    """Linear regression of each item on all others: Steck, "Embarrassingly shallow autoencoders", WWW 2019.

    The closed form: with P the inverse of the matrix of common users plus `penalty` on its diagonal, the weight of item
    i for item j is -P[i, j] / P[j, j]. Only the `known` most popular items take part; others come last.
    """

    def __init__(self, events: sparse.csr_array, penalty: float, known: int = EASE_ITEMS):
        self.setting, self._all = f"penalty={penalty:g}", events.shape[1]
        popularity = np.asarray(events.sum(0))
        self.items = np.sort(np.argsort(-popularity, kind="stable")[:known])
        self.weights = _ease(events, self.items, penalty)  # (M, M) float32

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """See `Baseline`."""
        found = np.full((len(inputs), self._all), _LAST, np.float32)
        found[:, self.items] = contents(inputs, self._all)[:, self.items].astype(np.float32) @ self.weights
        return found


def _ease(events: sparse.csr_array, items: np.ndarray, penalty: float) -> np.ndarray:
    """The weights (M, M) float32 between items (M,); in place, as each matrix of float64 may have 200 MB."""
    common = np.empty((len(items),) * 2, order="F")
    for start, counts in _common_users(events, items):
        common[:, start : start + counts.shape[1]] = counts
    common[np.diag_indices_from(common)] += penalty
    factor, failed = lapack.dpotrf(common, lower=True, overwrite_a=True)
    inverse, also_failed = lapack.dpotri(factor, lower=True, overwrite_c=True)
    if failed or also_failed:
        raise DarkroomError(
            f"the baseline EASE cannot be computed: its matrix is singular with a penalty of {penalty}."
        )
    weights = np.empty(inverse.shape, np.float32)
    for place in range(len(weights)):  # LAPACK computes the lower triangle only
        weights[place:, place] = weights[place, place:] = inverse[place:, place]
    weights /= -np.diag(inverse).astype(np.float32)
    weights[np.diag_indices_from(weights)] = 0
    return weights


def _common_users(events: sparse.csr_array, items: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The users that items (M,) have in common, in blocks of columns: the first column, and counts (M, n) float64."""
    chosen = events[:, items].astype(np.float64).tocsc()
    size = max(1, VALUES // max(1, len(items)))
    for start in range(0, len(items), size):
        yield start, (chosen.T @ chosen[:, start : start + size]).toarray()
