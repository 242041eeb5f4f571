"""Labels that are probably wrong, and labels that a person has put right.

Confident learning: Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 2021. It
needs probabilities of a model that has not seen the sample with its label: those of the test set, or of cross-validation.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def suspicion(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How suspect each label is, and which are probably wrong, of out-of-sample probabilities (N, K) and labels (N,) int64.

    The first array (N,) float64 ranks: by how much the most probable other class exceeds the label, from -1 to 1. The second
    (N,) bool is confident learning's off-diagonal: the sample is at least as probable of another class as the samples that
    bear that class's label are on average, and of no such class more than of that one.
    """
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.zeros(probabilities.shape[1])
    np.add.at(sums, labels, own)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, -np.inf)
    best = confident.argmax(1)
    return _others(probabilities, labels).max(1) - own, np.isfinite(confident[rows, best]) & (best != labels)


def table(probabilities: np.ndarray, labels: np.ndarray, ids: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """The probably wrong labels, the most suspect first: id, label, suggested (the most probable other class), margin.

    Its columns `id` and `label`, with the label put right, are what `corrected` reads. Arguments as of `suspicion`, with
    ids (N,) unicode.
    """
    margins, suspected = suspicion(probabilities, labels)
    order = np.flatnonzero(suspected)[np.argsort(-margins[suspected], kind="stable")]
    names = np.array(classes)
    suggested = names[_others(probabilities, labels)[order].argmax(1)]
    return pd.DataFrame(
        {"id": ids[order], "label": names[labels[order]], "suggested": suggested, "margin": margins[order]}
    )


def _others(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probabilities (N, K) with that of each label below all others."""
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others
