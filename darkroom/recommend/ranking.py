"""Rank all items for each history: the rank of the next item, and the first items.

The next item is ranked among all items, never among a sample of them: sampled metrics may order recommenders otherwise
(Krichene and Rendle, "On sampled metrics for item recommendation", KDD 2020). Ties are ranked pessimistically: items
with the score of the next item come before it, so a recommender that scores all items alike is the worst of all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from darkroom.core.errors import DarkroomError

TOP = 20  # items of a list of recommendations
SHOWN = 10  # of which the main measures count so many
KS = (1, 5, 10, 20)
VALUES = 2**22  # scores in memory at a time


@dataclass(frozen=True)
class Ranking:
    """The ranking of all items for N histories."""

    ranks: np.ndarray  # (N,) int64, of the next item, from 1
    best: np.ndarray  # (N, TOP) int64, the first items; -1 where there are no more

    def hits(self, k: int) -> np.ndarray:
        """(N,) bool: whether the next item is among the first k."""
        return hits(self.ranks, k)

    def __len__(self) -> int:
        return len(self.ranks)


def blocks(histories: int, items: int) -> Iterator[slice]:
    """Parts of the histories, so that a part has at most VALUES scores, or one history."""
    size = max(1, VALUES // items)
    return (slice(start, start + size) for start in range(0, histories, size))


def rank(scores: np.ndarray, labels: np.ndarray, left_out: sparse.csr_array) -> Ranking:
    """Rank the items by scores (N, items) float; higher is better.

    `labels` (N,) int64 are the next items. Items of `left_out` (N, items) come after all others and are in no list. If
    the next item were ranked among the others all the same, it would be the only one of its kind there: a recommender
    could find it by that. Its rank is after all items and after TOP, so that it is no hit where there are few items.
    Equal scores are in the order of the items, the next item last. Raises DarkroomError if a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise DarkroomError(
            "models/trained computes logits that are not finite on the test set: lower train.lr and run `dvc repro`."
        )
    rows, everyone = np.arange(len(labels)), scores.shape[1]
    known = np.array(scores, np.float32)
    known[left_out.nonzero()] = -np.inf
    of_labels = known[rows, labels]
    ranks = np.where(of_labels > -np.inf, (known >= of_labels[:, None]).sum(1), max(everyone, TOP) + 1)
    limits = np.partition(known, everyone - min(TOP, everyone), axis=1)[:, everyone - min(TOP, everyone)]
    best = np.full((len(labels), TOP), -1)
    for row, (limit, label) in enumerate(zip(limits, labels.tolist(), strict=True)):
        found = np.flatnonzero((known[row] >= limit) & (known[row] > -np.inf))
        first = found[np.lexsort((found, found == label, -known[row, found]))][:TOP]
        best[row, : len(first)] = first
    return Ranking(ranks, best)


def joined(parts: Sequence[Ranking]) -> Ranking:
    """The rankings of several parts of the histories as one."""
    return Ranking(np.concatenate([part.ranks for part in parts]), np.concatenate([part.best for part in parts]))


def in_blocks(
    scores: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, labels: np.ndarray, left_out: sparse.csr_array
) -> Ranking:
    """As `rank`, for histories (N, L): `scores` turns some of them (n, L) into scores (n, items)."""
    parts = blocks(len(inputs), left_out.shape[1])
    return joined([rank(scores(inputs[part]), np.asarray(labels[part]), left_out[part]) for part in parts])


def hits(ranks: np.ndarray, k: int) -> np.ndarray:
    """(N,) bool: whether ranks (N,) are at most k; their mean is the hit rate HR@k, or recall@k of one item."""
    return ranks <= k


def gains(ranks: np.ndarray, k: int) -> np.ndarray:
    """(N,) float64 in 0..1, whose mean is NDCG@k of one relevant item: 1 / log2(rank + 1), or 0 after k.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 2002.
    """
    return np.where(ranks <= k, 1 / np.log2(ranks + 1.0), 0.0)


def reciprocal(ranks: np.ndarray) -> np.ndarray:
    """(N,) float64 in 0..1, whose mean is the mean reciprocal rank, MRR, over all items."""
    return 1 / ranks
