"""Find labels that are probably wrong.

Confident learning: Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR
2021. The probabilities must come from a model that was not trained on these examples: those of the test set, or of
cross-validation.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from darkroom.evaluate.probabilities import Table
from darkroom.models.logits import by_rows


def suspicion(probabilities: Table, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How suspect each label is, which labels are probably wrong, and the most probable other class.

    From out-of-sample `probabilities` (N, K) and `labels` (N,) int64. The first array (N,) float64 is the margin: the
    largest probability of another class minus that of the label, -1..1. The second (N,) bool is True off the diagonal
    of the confident joint: a class is confident if its probability is at least the mean probability of that class over
    the examples with its label, and the most probable confident class is not the label. A label with a margin of 0 or
    less is not suspect: no class is more probable. The third is (N,) int64.
    """
    of_label, of_other, other = by_rows(_with_other, probabilities, labels)
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.zeros(probabilities.shape[1])
    np.add.at(sums, labels, of_label)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)

    def is_off_diagonal(block: np.ndarray, own: np.ndarray) -> np.ndarray:
        confident = np.where(block >= thresholds, block, -np.inf)
        best = confident.argmax(1)
        return np.isfinite(confident[np.arange(len(own)), best]) & (best != own)

    margins = of_other - of_label
    return margins, by_rows(is_off_diagonal, probabilities, labels) & (margins > 0), other


def table(probabilities: Table, labels: np.ndarray, ids: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """The probably wrong labels, most suspect first: id, label, suggested (most probable other class), margin.

    Arguments as in `suspicion`, with `ids` (N,) unicode. After the column `label` is corrected, `preprocess.relabel`
    reads the table.
    """
    margins, suspected, other = suspicion(probabilities, labels)
    order = np.flatnonzero(suspected)[np.argsort(-margins[suspected], kind="stable")]
    names = np.array(classes)
    columns = {"label": labels, "suggested": other}
    named = {name: names[column[order]] for name, column in columns.items()}
    return pd.DataFrame({"id": ids[order], **named, "margin": margins[order]})


def _with_other(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The probability of the label, the largest one of another class, and that class, each (N,)."""
    rows, others = np.arange(len(labels)), probabilities.copy()
    others[rows, labels] = -np.inf
    other = others.argmax(1)
    return probabilities[rows, labels], others[rows, other], other
