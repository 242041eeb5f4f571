"""What is known of pictures but their pixels: a table with a row a picture, in the order in which the dataset names them."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Samples:
    """The table, a column a field."""

    ids: np.ndarray  # (N,) unicode, unique: where the picture came from
    labels: np.ndarray  # (N,) int64, an index into the dataset's classes
    splits: np.ndarray  # (N,) unicode: one of SPLITS, or "" for a picture that is left out
    groups: (
        np.ndarray
    )  # (N,) unicode: pictures that must share a split, such as those of one person; "" for one of its own

    def __len__(self) -> int:
        return len(self.labels)

    def within(self, split: str) -> np.ndarray:
        """The places (n,) int64 of the pictures of a split."""
        return np.flatnonzero(self.splits == split)

    def moved(self, places: np.ndarray, split: str) -> "Samples":
        """The table with the pictures at `places` (n,) in another split."""
        splits = self.splits.astype("<U5")
        splits[places] = split
        return replace(self, splits=splits)


def published(train_labels: np.ndarray, test_labels: np.ndarray) -> Samples:
    """The table of an official training and test set; an id is the split's name and the place in its raw files: train/00042."""
    parts = {"train": train_labels, "test": test_labels}
    return Samples(
        np.array([f"{name}/{place:05}" for name, labels in parts.items() for place in range(len(labels))]),
        np.concatenate([train_labels, test_labels]).astype(np.int64),
        np.repeat(list(parts), [len(labels) for labels in parts.values()]),
        np.full(len(train_labels) + len(test_labels), "", dtype="<U1"),
    )
