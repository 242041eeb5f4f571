"""Labels that are probably wrong, and labels that a person has put right.

Confident learning: Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 2021. It
needs probabilities of a model that has not seen the sample with its label: those of the test set, or of cross-validation.
"""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.errors import DarkroomError
from darkroom.samples import Samples


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
    return pd.DataFrame({"id": ids[order], "label": names[labels[order]], "suggested": suggested, "margin": margins[order]})


def _others(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probabilities (N, K) with that of each label below all others."""
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others


def corrected(samples: Samples, path: Path, classes: Sequence[str]) -> Samples:
    """The samples with the labels of a CSV with the columns id and label; where that label is empty, the picture is in no split.

    Raises DarkroomError where the file is missing or broken, or names a picture or a class that is not there, or a picture twice.
    """
    places = {name: place for place, name in enumerate(samples.ids.tolist())}
    labels = {**{name: label for label, name in enumerate(classes)}, "": -1}
    right: dict[int, int] = {}  # by place; -1: to be left out
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if missing := {"id", "label"} - set(reader.fieldnames or ()):
                raise ValueError(f"it has no column {' and no column '.join(sorted(missing))}")
            for number, row in enumerate(reader, 1):
                name, label = row["id"], row["label"]
                if name not in places:
                    raise ValueError(f"row {number} names the picture {name!r}, which is not in the dataset")
                if label not in labels:
                    raise ValueError(f"row {number} has the label {label!r}; known are {', '.join(classes)}, or nothing to leave the picture out")
                if places[name] in right:
                    raise ValueError(f"row {number} names {name!r} for the second time")
                right[places[name]] = labels[label]
    except FileNotFoundError:
        raise DarkroomError(f"{path} is missing: put the file that preprocess.relabel names there, or set it to null.") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DarkroomError(f"{path} cannot be used ({error}): put it right, or set preprocess.relabel to null.") from None
    changed = samples.labels.copy()
    changed[list(right)] = list(right.values())
    left_out = np.array([place for place, label in right.items() if label < 0], dtype=np.int64)
    changed[left_out] = samples.labels[left_out]
    return replace(samples.moved(left_out, ""), labels=changed)
