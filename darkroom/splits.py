"""The splits: the official training and test sets, and validation taken from the first, seeded and stratified.

Each picture has a random rank that follows from the seed and its id alone, and the first of every class validate. So
adding, dropping or reordering pictures or classes moves no other picture, but for one or two at the edge, and a larger
validation set holds every smaller one.
"""

import math
from collections.abc import Sequence

import numpy as np

from darkroom.arrays import Split
from darkroom.errors import DarkroomError
from darkroom.randomness import derive_seed


def official(name: str, images: np.ndarray, labels: np.ndarray) -> Split:
    """The samples of an official split, each with an id of the split's name and its place in the raw files: train/00042."""
    return Split(images, labels, np.array([f"{name}/{place:05}" for place in range(len(labels))]))


def stratify(samples: Split, classes: Sequence[str], fraction: float, seed: int) -> tuple[Split, Split]:
    """Training and validation, each in the order of `samples`.

    Validation has round(N * fraction) samples, from each class its share to within one, and in each class at least one
    validates and one trains: where that takes more or fewer in all, it is the nearest number possible.
    Raises DarkroomError where a class has fewer than two samples.
    """
    held_out = validation_counts(np.bincount(samples.labels, minlength=len(classes)).tolist(), classes, fraction)
    ranks = np.array([derive_seed(seed, "split", name) for name in samples.ids.tolist()])
    validates = np.zeros(len(samples), dtype=bool)
    for label, count in enumerate(held_out):
        places = np.flatnonzero(samples.labels == label)
        validates[places[np.argsort(ranks[places])[:count]]] = True
    train, val = (Split(samples.images[chosen], samples.labels[chosen], samples.ids[chosen]) for chosen in (~validates, validates))
    return train, val


def validation_counts(counts: Sequence[int], classes: Sequence[str], fraction: float) -> list[int]:
    """How many of each class's `counts` samples validate, by largest remainder; see `stratify`."""
    for count, name in zip(counts, classes, strict=True):
        if count < 2:
            raise DarkroomError(
                f"The class {name!r} has {count} usable training {'picture' if count == 1 else 'pictures'}, but the split into training and validation "
                "needs 2 at least: add pictures of it to the dataset, or take the class out of dataset.yaml."
            )
    shares = [count * fraction for count in counts]
    held_out = [max(1, math.floor(share)) for share in shares]
    most = [min(count - 1, math.ceil(share)) for count, share in zip(counts, shares, strict=True)]
    missing = max(0, round(sum(counts) * fraction) - sum(held_out))
    can_grow = [label for label in range(len(counts)) if held_out[label] < most[label]]
    for label in sorted(can_grow, key=lambda label: held_out[label] - shares[label])[:missing]:
        held_out[label] += 1
    return held_out
