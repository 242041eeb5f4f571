"""Classes without labelled training examples of their own: how what people label is split, and whether it suffices.

Validation and test must be a random sample, and the examples that a strategy chooses to have labelled are none. So a
hash of its name draws the split of each unlabelled example before anybody labels it. `python -m darkroom.acquire` then
takes a part of each batch at random from those drawn for validation and test, and the rest by its strategy from those
drawn for training. Other classes have labelled examples to hold out, so what people label of them stays in training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from darkroom.core.arrays import UNLABELLED
from darkroom.core.randomness import derive_seed
from darkroom.core.spelling import counted
from darkroom.datasets.descriptions import Dataset
from darkroom.preprocess.samples import Samples


@dataclass(frozen=True)
class ColdStart:
    """The classes that need labels from people."""

    classes: Sequence[str]  # of the dataset
    without: Sequence[str] = ()  # those without labelled training examples of their own
    fractions: Mapping[str, float] = field(default_factory=dict)  # that are drawn for each split but train, see `draw`

    def hold_out(self, samples: Samples, newly_labelled: np.ndarray) -> Samples:
        """Move those of the newly labelled examples at these indices (n,) that are of such a class to their split.

        Those of a group with other labelled examples stay in training.
        """
        labels = [self.classes.index(name) for name in self.without]
        others = np.setdiff1d(np.flatnonzero(samples.labels >= 0), newly_labelled)
        known = set(samples.groups[others].tolist()) - {""}
        chosen = newly_labelled[np.isin(samples.labels[newly_labelled], labels)].tolist()
        free = [index for index in chosen if samples.groups.item(index) not in known]
        drawn = draw([samples.groups.item(index) or samples.ids.item(index) for index in free], self.fractions)
        for split in self.fractions:
            samples = samples.move(np.array(free, np.int64)[drawn == split], split)
        return samples

    def shortage(self, samples: Samples, newly_labelled: np.ndarray) -> str:
        """Why the labels do not suffice to train yet, or an empty string.

        Each such class needs an example in training. A split that is drawn needs two classes: the other classes bring
        one each.
        """
        if not self.without:
            return ""
        if not (samples.labels >= 0).any():
            return "no example has a label yet"
        held_out, numbers = self.hold_out(samples, newly_labelled), [*map(self.classes.index, self.without)]
        found = {split: set(held_out.labels[held_out.indices(split)].tolist()) for split in ("train", *self.fractions)}
        missing = [self.classes[label] for label in numbers if label not in found["train"]]
        if missing:
            return f"classes without a labelled training example: {', '.join(missing)}"
        for split in self.fractions:
            count = len(self.classes) - len(numbers) + len(found[split] & set(numbers))
            if count < 2:
                return f"the labels drawn for the split {split} are of {counted(count, 'class')}, and it needs two"
        return ""


def find(samples: Samples, dataset: Dataset, test_fraction: float, val_fraction: float) -> ColdStart:
    """The classes that none of the dataset's own training examples has; splits that it has are not drawn.

    Without unlabelled examples there are none: people would have nothing to label on the page.
    """
    classes = dataset.classes
    counts = np.bincount(samples.labels[samples.indices("train")], minlength=len(classes)).tolist()
    without = [name for name, count in zip(classes, counts, strict=True) if not count]
    given = set(np.unique(samples.splits).tolist())
    if not without or UNLABELLED not in given or dataset.kind == "table":
        return ColdStart(classes)
    test = 0.0 if "test" in given else test_fraction
    wanted = {"test": test, "val": (1 - test) * val_fraction}
    return ColdStart(classes, without, {split: part for split, part in wanted.items() if split not in given})


def draw(names: Sequence[str], fractions: Mapping[str, float]) -> np.ndarray:
    """The split (N,) unicode that is drawn for each example or group: one of `fractions`, or train.

    It depends on the name alone, so that another seed never makes a chosen example a test example.
    """
    if not fractions:
        return np.full(len(names), "train")
    values = np.fromiter((derive_seed(0, "drawn", name) / 2**63 for name in names), np.float64, len(names))
    return np.array([*fractions, "train"])[np.searchsorted(np.cumsum([*fractions.values()]), values, side="right")]
