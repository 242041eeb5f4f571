"""The table of samples: what is known about the images besides their pixels, one row per image, in dataset order."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from darkroom.core.arrays import TEXT

NO_LABEL = -1  # of an unlabelled example


@dataclass(frozen=True)
class Samples:
    """The table; each field but the last two is a column."""

    ids: np.ndarray  # (N,) TEXT, unique: where the image came from
    labels: np.ndarray  # (N,) int64: index into the dataset's classes, or NO_LABEL
    splits: np.ndarray  # (N,) unicode: one of SPLITS, UNLABELLED, or "" if the image was removed
    groups: np.ndarray  # (N,) TEXT: images that must share a split, such as those of one person; "" if in no group
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)  # the manifest's other columns, each (N,) TEXT
    hidden: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # indices (n,) of those `hiding` changed
    cold_start: Mapping[str, Any] = field(default_factory=dict)  # `drawn` and `incomplete` of the manifest

    def __len__(self) -> int:
        return len(self.labels)

    def indices(self, split: str) -> np.ndarray:
        """Indices (n,) int64 of the images in `split`."""
        return np.flatnonzero(self.splits == split)

    def move(self, indices: np.ndarray, split: str) -> "Samples":
        """A copy of the table with the images at `indices` (n,) moved to `split`."""
        splits = self.splits.astype("<U10")
        splits[indices] = split
        return replace(self, splits=splits)


def published_samples(train_labels: np.ndarray, test_labels: np.ndarray) -> Samples:
    """The table of an official training and test set. Ids are split and index in the raw files, such as train/00042."""
    parts = {"train": train_labels, "test": test_labels}
    return Samples(
        np.array([f"{name}/{index:05}" for name, labels in parts.items() for index in range(len(labels))], dtype=TEXT),
        np.concatenate([train_labels, test_labels]).astype(np.int64),
        np.repeat(list(parts), [len(labels) for labels in parts.values()]),
        np.full(len(train_labels) + len(test_labels), "", dtype=TEXT),
    )
