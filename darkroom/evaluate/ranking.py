"""How well the probability of a class ranks its examples before the others: one-vs-rest, from logits and labels."""

from collections.abc import Iterator

import numpy as np
from scipy.special import logsumexp

from darkroom.models.logits import by_rows

COLUMNS = 2**24  # logits of a block of classes that are in memory at a time


def log_normaliser(logits: np.ndarray) -> np.ndarray:
    """The logarithm (N,) float64 of the sum of the exponentials of logits (N, K)."""
    return by_rows(lambda block: logsumexp(block.astype(np.float64), axis=1), logits)


def summary(logits: np.ndarray, labels: np.ndarray, normaliser: np.ndarray) -> dict[str, float]:
    """The means over the classes of the area under the ROC curve and of the average precision.

    From logits (N, K), labels (N,) int64 and the `log_normaliser` (N,) of the logits. Classes without test examples, or
    with nothing else, are left out; the result is empty if no class is left. Ties count half in the area, as in
    scikit-learn. One class at a time, from blocks of classes: the memory is linear in N.
    """
    order = np.argsort(labels, kind="stable")
    own = np.split(order, np.cumsum(np.bincount(labels, minlength=logits.shape[1]))[:-1])
    found = [
        _of_class(scores - normaliser, rows)
        for scores, rows in zip(_columns(logits), own, strict=True)
        if 0 < len(rows) < len(labels)
    ]
    return dict(zip(("roc_auc", "average_precision"), map(float, np.mean(found, axis=0)), strict=True)) if found else {}


def _columns(logits: np.ndarray) -> Iterator[np.ndarray]:
    """The logits (N,) of each class, of logits (N, K); many are read once per block of classes."""
    size = max(1, COLUMNS // max(1, len(logits)))
    for first in range(0, logits.shape[1], size):
        columns = slice(first, first + size)
        block = by_rows(lambda rows, columns=columns: rows[:, columns].copy(), logits)
        yield from np.ascontiguousarray(block.T)


def _of_class(scores: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """ROC AUC and average precision of scores (N,) for the examples in `rows` (n,)."""
    scores, positive = np.sort(scores), np.sort(scores[rows])
    n, total = len(positive), len(scores)
    below, up_to = (np.searchsorted(scores, positive, side) for side in ("left", "right"))
    below_own, up_to_own = (np.searchsorted(positive, positive, side) for side in ("left", "right"))
    beaten = (below - below_own + up_to - up_to_own) / 2  # negatives below, and half of those with the same score
    return float(beaten.mean() / (total - n)), float(((n - below_own) / (total - below)).mean())
