"""The splits: those that the dataset names are kept; test or validation that it lacks are taken from training, seeded and stratified.

Each picture, or group of pictures, has a random rank that follows from the seed and its name alone, and the first of every
class are held out. So adding, dropping or reordering pictures or classes moves no other picture, but for one or two at the
edge, and a larger held-out set holds every smaller one.
"""

import math
from collections.abc import Sequence

import numpy as np

from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import derive_seed
from darkroom.preprocess.samples import Samples


def hold_out(
    samples: Samples, split: str, fraction: float, classes: Sequence[str], seed: int, least: int = 0
) -> Samples:
    """The samples with a share of those in training moved to `split`; as they are, where the dataset has that split.

    round(N * fraction) samples move, from each class its share to within one, and in each class at least one moves and one
    stays: where that takes more or fewer in all, it is the nearest number possible. Where samples have groups, whole groups
    move, and the numbers are as near as the groups allow. Classes with fewer than `least` samples, which cleaning will leave
    out, stay as they are. Raises DarkroomError where another class has fewer than two samples or groups.
    """
    if len(samples.within(split)):
        return samples
    places = samples.within("train")
    common = np.flatnonzero(np.bincount(samples.labels[places], minlength=len(classes)) >= least)
    places = places[np.isin(samples.labels[places], common)]
    labels, classes = np.searchsorted(common, samples.labels[places]), [classes[label] for label in common]
    names = (samples.groups.item(place) or samples.ids.item(place) for place in places.tolist())
    ranks = np.fromiter((derive_seed(seed, "split", name) for name in names), np.int64, len(places))
    divide = _whole_groups if len(np.unique(ranks)) < len(ranks) else _first_of_each_class
    return samples.moved(places[divide(labels, ranks, split, fraction, classes)], split)


def _first_of_each_class(
    labels: np.ndarray, ranks: np.ndarray, split: str, fraction: float, classes: Sequence[str]
) -> np.ndarray:
    """A mask (N,) of the samples that are held out, of their labels (N,) and ranks (N,) int64."""
    chosen = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(
        held_out_counts(np.bincount(labels, minlength=len(classes)).tolist(), classes, fraction, split)
    ):
        places = np.flatnonzero(labels == label)
        chosen[places[np.argsort(ranks[places])[:count]]] = True
    return chosen


def _whole_groups(
    labels: np.ndarray, ranks: np.ndarray, split: str, fraction: float, classes: Sequence[str]
) -> np.ndarray:
    """As `_first_of_each_class`, by groups, which share a rank: in its order, each that brings the classes' counts nearer to their shares."""
    groups, members = np.unique(ranks, return_inverse=True)
    counts = np.zeros((len(groups), len(classes)), dtype=np.int64)
    np.add.at(counts, (members, labels), 1)
    for label, name in enumerate(classes):
        if (counts[:, label] > 0).sum() < 2:
            raise DarkroomError(
                f"The class {name!r} is in {(counts[:, label] > 0).sum()} of the groups of pictures that must stay together, but to split off "
                f"{split} it must be in 2 at least: add pictures of it, or make the groups smaller."
            )
    wanted, held_out, left = counts.sum(0) * fraction, np.zeros(len(classes)), counts.sum(0)
    taken = np.zeros(len(groups), dtype=bool)
    for group in range(len(groups)):
        needed = ((counts[group] > 0) & (held_out == 0)).any()  # each class must be in the held-out set ...
        nearer = ((held_out + counts[group] - wanted) ** 2).sum() < ((held_out - wanted) ** 2).sum()
        if (needed or nearer) and (left - counts[group] > 0).all():  # ... and stay in training
            taken[group], held_out, left = True, held_out + counts[group], left - counts[group]
    if not held_out.all():
        raise DarkroomError(
            f"No choice of whole groups was found that puts the class {classes[int(held_out.argmin())]!r} both into training and into {split}: "
            "make the groups smaller, or name the splits in the manifest."
        )
    return taken[members]


def held_out_counts(counts: Sequence[int], classes: Sequence[str], fraction: float, split: str) -> list[int]:
    """How many of each class's `counts` samples are held out, by largest remainder; see `hold_out`."""
    for count, name in zip(counts, classes, strict=True):
        if count < 2:
            raise DarkroomError(
                f"The class {name!r} has {count} usable training {'picture' if count == 1 else 'pictures'}, but to split off {split} "
                "it needs 2 at least: add pictures of it to the dataset, or leave small classes out with preprocess.clean.min_class_size."
            )
    shares = [count * fraction for count in counts]
    held_out = [max(1, math.floor(share)) for share in shares]
    most = [min(count - 1, math.ceil(share)) for count, share in zip(counts, shares, strict=True)]
    missing = max(0, round(sum(counts) * fraction) - sum(held_out))
    can_grow = [label for label in range(len(counts)) if held_out[label] < most[label]]
    for label in sorted(can_grow, key=lambda label: held_out[label] - shares[label])[:missing]:
        held_out[label] += 1
    return held_out
