"""Find labels that are probably wrong.

Confident learning: Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR
2021. The probabilities must come from a model that was not trained on these examples: those of the test set, or of
cross-validation.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def suspicion(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How suspect each label is, and which labels are probably wrong.

    From out-of-sample `probabilities` (N, K) and `labels` (N,) int64. The first array (N,) float64 is the margin: the
    largest probability of another class minus that of the label, -1..1. The second (N,) bool is True off the diagonal
    of the confident joint: a class is confident if its probability is at least the mean probability of that class over
    the examples with its label, and the most probable confident class is not the label. A label with a margin of 0 or
    less is not suspect: no class is more probable.
    """
    rows = np.arange(len(labels))
    of_label = probabilities[rows, labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.zeros(probabilities.shape[1])
    np.add.at(sums, labels, of_label)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, -np.inf)
    best, margins = confident.argmax(1), _others(probabilities, labels).max(1) - of_label
    return margins, np.isfinite(confident[rows, best]) & (best != labels) & (margins > 0)


def table(probabilities: np.ndarray, labels: np.ndarray, ids: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """The probably wrong labels, most suspect first: id, label, suggested (most probable other class), margin.

    Arguments as in `suspicion`, with `ids` (N,) unicode. After the column `label` is corrected, `preprocess.relabel`
    reads the table.
    """
    margins, suspected = suspicion(probabilities, labels)
    order = np.flatnonzero(suspected)[np.argsort(-margins[suspected], kind="stable")]
    names = np.array(classes)
    suggested = names[_others(probabilities, labels)[order].argmax(1)]
    return pd.DataFrame(
        {"id": ids[order], "label": names[labels[order]], "suggested": suggested, "margin": margins[order]}
    )


def _others(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probabilities (N, K), with minus infinity for each example's label."""
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others
