"""Split into training, validation and test: a split of the dataset is kept, a missing one is taken from training.

The split is seeded and stratified. Each image, or group of images, has a random rank that depends only on the seed and
its id, and the first ranks of each class are held out. So adding, removing or reordering images or classes moves no
other image, except one or two at the boundary, and a larger held-out set contains every smaller one.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np

from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import derive_seed
from darkroom.core.spelling import counted
from darkroom.preprocess.samples import Samples


def hold_out(
    samples: Samples,
    split: str,
    fraction: float,
    classes: Sequence[str],
    seed: int,
    min_class_size: int = 0,
    unusable: Collection[int] = (),
    without: Collection[str] = (),
) -> Samples:
    """Move a fraction of the training samples to `split`.

    round(N * fraction) samples move. The number per class is its fraction to within one; at least one sample moves and
    at least one stays, even if that changes the total. Samples with groups move as whole groups, and the numbers are as
    close as the groups allow. Cleaning will remove the samples at the indices `unusable`, and classes with fewer than
    `min_class_size` other samples: they are not counted and stay in training. So do the classes `without` other
    samples. Raises DarkroomError if another class has fewer than two samples or groups.
    """
    indices = np.setdiff1d(samples.indices("train"), np.array(list(unusable), dtype=np.int64))
    has_others = np.array([name not in without for name in classes], dtype=bool)
    counts = np.bincount(samples.labels[indices], minlength=len(classes))
    common = np.flatnonzero((counts >= min_class_size) & has_others)
    indices = indices[np.isin(samples.labels[indices], common)]
    labels, classes = np.searchsorted(common, samples.labels[indices]), [classes[label] for label in common]
    names = (samples.groups.item(index) or samples.ids.item(index) for index in indices.tolist())
    ranks = np.fromiter((derive_seed(seed, "split", name) for name in names), np.int64, len(indices))
    has_groups = len(np.unique(ranks)) < len(ranks)
    choose = _choose_groups if has_groups else _choose_samples
    return samples.move(indices[choose(labels, ranks, split, fraction, classes)], split)


def notice(samples: Samples, test_fraction: float) -> str:
    """How the test split is made if the dataset has a validation split but no test split; else empty."""
    given = set(np.unique(samples.splits).tolist())
    if "val" not in given or "test" in given:
        return ""
    return (
        f"the dataset has a validation split but no test split: {test_fraction:.0%} of its training examples are held "
        "out for testing (preprocess.test_fraction); to test on its validation examples instead, rename val to test"
    )


def _choose_samples(
    labels: np.ndarray, ranks: np.ndarray, split: str, fraction: float, classes: Sequence[str]
) -> np.ndarray:
    """Mask (N,) of the held-out samples, given labels (N,) and ranks (N,) int64: the first ranks of each class."""
    chosen = np.zeros(len(labels), dtype=bool)
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    for label, count in enumerate(held_out_counts(counts, classes, fraction, split)):
        indices = np.flatnonzero(labels == label)
        chosen[indices[np.argsort(ranks[indices])[:count]]] = True
    return chosen


def _choose_groups(
    labels: np.ndarray, ranks: np.ndarray, split: str, fraction: float, classes: Sequence[str]
) -> np.ndarray:
    """Like `_choose_samples`, for groups; samples of a group share a rank.

    Greedy in the order of ranks: a group is held out if that brings the class counts closer to their targets.
    """
    groups, members = np.unique(ranks, return_inverse=True)
    counts = np.zeros((len(groups), len(classes)), dtype=np.int64)
    np.add.at(counts, (members, labels), 1)
    for label, name in enumerate(classes):
        if (found := int((counts[:, label] > 0).sum())) < 2:
            raise DarkroomError(
                f"The class {name!r} is in {counted(found, 'group')}: splitting off {split} needs at least 2. "
                "Add examples of it, or make the groups smaller."
            )
    target, held_out, left = counts.sum(0) * fraction, np.zeros(len(classes)), counts.sum(0)
    chosen = np.zeros(len(groups), dtype=bool)
    for group in range(len(groups)):
        needed = ((counts[group] > 0) & (held_out == 0)).any()  # each class must be in the held-out set ...
        closer = ((held_out + counts[group] - target) ** 2).sum() < ((held_out - target) ** 2).sum()
        if (needed or closer) and (left - counts[group] > 0).all():  # ... and stay in training
            chosen[group], held_out, left = True, held_out + counts[group], left - counts[group]
    if not held_out.all():
        raise DarkroomError(
            f"The class {classes[int(held_out.argmin())]!r} cannot be in both training and {split} with whole groups: "
            "make the groups smaller, or set the splits in the manifest."
        )
    return chosen[members]


def held_out_counts(counts: Sequence[int], classes: Sequence[str], fraction: float, split: str) -> list[int]:
    """How many of the `counts` samples of each class are held out, by the largest remainder method; see `hold_out`."""
    for count, name in zip(counts, classes, strict=True):
        if count < 2:
            raise DarkroomError(
                f"The class {name!r} has {counted(count, 'usable training example')}, but splitting off {split} "
                "needs at least 2. Add examples of it, or remove small classes with preprocess.clean.min_class_size."
            )
    targets = [count * fraction for count in counts]
    held_out = [max(1, math.floor(target)) for target in targets]
    limits = [min(count - 1, math.ceil(target)) for count, target in zip(counts, targets, strict=True)]
    missing = max(0, round(sum(counts) * fraction) - sum(held_out))
    can_grow = [label for label in range(len(counts)) if held_out[label] < limits[label]]
    for label in sorted(can_grow, key=lambda label: held_out[label] - targets[label])[:missing]:
        held_out[label] += 1
    return held_out
