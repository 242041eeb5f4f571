"""Labels that a person has put right."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from darkroom.core.errors import DarkroomError
from darkroom.preprocess.samples import Samples


def apply(samples: Samples, folder: Path, name: str, classes: Sequence[str]) -> Samples:
    """The samples with the labels of the CSV `name` in `folder`, with the columns id and label ("none": as they are); where that label is empty, the picture is in no split.

    Raises DarkroomError where the file is missing or broken, or names a picture or a class that is not there, or a picture twice.
    """
    if name == "none":
        return samples
    path, places = folder / name, {example: place for place, example in enumerate(samples.ids.tolist())}
    labels = {**{title: label for label, title in enumerate(classes)}, "": -1}
    right: dict[int, int] = {}  # by place; -1: to be left out
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if missing := {"id", "label"} - set(reader.fieldnames or ()):
                raise ValueError(f"it has no column {' and no column '.join(sorted(missing))}")
            for number, row in enumerate(reader, 1):
                example, label = row["id"], row["label"]
                if example not in places:
                    raise ValueError(f"row {number} names the example {example!r}, which is not in the dataset")
                if label not in labels:
                    raise ValueError(
                        f"row {number} has the label {label!r}; known are {', '.join(classes)}, or nothing to leave the picture out"
                    )
                if places[example] in right:
                    raise ValueError(f"row {number} names {example!r} for the second time")
                right[places[example]] = labels[label]
    except FileNotFoundError:
        raise DarkroomError(
            f"{path} is missing: put the file that preprocess.relabel names there, or set it to none."
        ) from None
    except (OSError, ValueError, csv.Error) as error:
        raise DarkroomError(
            f"{path} cannot be used ({error}): put it right, or set preprocess.relabel to none."
        ) from None
    changed = samples.labels.copy()
    changed[list(right)] = list(right.values())
    left_out = np.array([place for place, label in right.items() if label < 0], dtype=np.int64)
    changed[left_out] = samples.labels[left_out]
    return replace(samples.moved(left_out, ""), labels=changed)
