"""Probabilities (N, K) of many examples and classes, of which a few numbers per example are kept.

Functions that take them take an array (N, K) float64 as well.
"""

from functools import cached_property

import numpy as np

from darkroom.models.inference import probabilities
from darkroom.models.logits import by_rows


class Probabilities:
    """The softmax (N, K) float64 of logits (N, K) float32 / temperature; indexing computes the rows of a slice."""

    def __init__(self, logits: np.ndarray, temperature: float = 1.0):
        self.logits, self._temperature, self.shape = logits, temperature, logits.shape

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return probabilities(self.logits[rows] / self._temperature)

    @cached_property
    def largest(self) -> tuple[np.ndarray, np.ndarray]:
        """The largest of each example, (N,) float64, and its class, (N,) int64."""
        return _largest(self)


Table = np.ndarray | Probabilities


def largest(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each row of probabilities or logits (N, K), and its class, (N,) int64; of equal ones the first."""
    return table.largest if isinstance(table, Probabilities) else _largest(table)


def _largest(table: Table) -> tuple[np.ndarray, np.ndarray]:
    return by_rows(lambda block: (block.max(1), block.argmax(1)), table)


def of_labels(table: Table, labels: np.ndarray) -> np.ndarray:
    """The value (N,) of the label, of labels (N,) int64, in each row of a table (N, K)."""
    return by_rows(lambda block, own: np.take_along_axis(block, own[:, None], 1)[:, 0], table, labels)
