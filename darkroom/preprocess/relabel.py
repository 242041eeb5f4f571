"""Labels that were corrected by hand."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from darkroom.core.errors import DarkroomError
from darkroom.preprocess.cleaning import RELABELLED, REMOVED, Finding
from darkroom.preprocess.samples import Samples

_REMOVED = -1


def apply(samples: Samples, folder: Path, name: str, classes: Sequence[str]) -> Samples:
    """Apply the corrections of the CSV file `name` in `folder`; "none": no corrections.

    The file has the columns id and label. An empty label removes the image. `findings` lists the changes. Raises
    DarkroomError if the file is missing or invalid, or if it names an unknown image, an unknown class, or the same
    image twice.
    """
    if name == "none":
        return samples
    path = folder / name
    try:
        corrections = _read(path, samples.ids, classes)
    except FileNotFoundError:
        raise DarkroomError(
            f"preprocess.relabel = {name}: {path} is missing: create it, or set the parameter to none."
        ) from None
    except (OSError, ValueError, csv.Error) as error:
        raise DarkroomError(f"{path} is invalid: {error}. Correct it, or set preprocess.relabel to none.") from None
    labels = samples.labels.copy()
    changed = [index for index, label in corrections.items() if label != _REMOVED]
    labels[changed] = [corrections[index] for index in changed]
    removed = [index for index, label in corrections.items() if label == _REMOVED]
    return replace(samples.move(np.array(removed, dtype=np.int64), ""), labels=labels)


def findings(before: Samples, after: Samples, splits: np.ndarray, classes: Sequence[str]) -> dict[int, Finding]:
    """One finding by index for each image that `apply` changed, given the samples before and after, and `splits` (N,).

    The rule is `relabelled`; the action is RELABELLED, or REMOVED for an image with an empty label.
    """
    found = {}
    for index in np.flatnonzero((before.labels != after.labels) | (before.splits != after.splits)).tolist():
        removed = before.splits[index] != after.splits[index]
        change = "removed by hand" if removed else f"corrected to {classes[after.labels[index]]}"
        detail = f"labelled {classes[before.labels[index]]}, {change}"
        action = REMOVED if removed else RELABELLED
        found[index] = Finding(before.ids.item(index), splits.item(index), "relabelled", detail, action)
    return found


def _read(path: Path, ids: np.ndarray, classes: Sequence[str]) -> dict[int, int]:
    """The corrected label of each image by its index; raises ValueError with a phrase that names the row."""
    indices = {example: index for index, example in enumerate(ids.tolist())}
    labels = {**{title: label for label, title in enumerate(classes)}, "": _REMOVED}
    corrections: dict[int, int] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if missing := {"id", "label"} - set(reader.fieldnames or ()):
            raise ValueError(f"missing column {', '.join(sorted(missing))}")
        for number, row in enumerate(reader, 1):
            example, label = row["id"], row["label"]
            if example not in indices:
                raise ValueError(f"row {number}: id = {example!r} is not in the dataset")
            if label not in labels:
                known = ", ".join(classes)
                raise ValueError(
                    f"row {number}: label = {label!r} must be one of {known}, or empty to remove the image"
                )
            if indices[example] in corrections:
                raise ValueError(f"row {number}: id = {example!r} appears twice")
            corrections[indices[example]] = labels[label]
    return corrections
