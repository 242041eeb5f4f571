"""Select the examples to explain."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from darkroom.core.arrays import Split
from darkroom.core.randomness import numpy_generator

MAX_PROBABILITIES = 2**25  # in memory at a time: of 10,000 examples, up to 3,355 classes
Maps = dict[str, np.ndarray]  # (n, ...) by method
KINDS = ("confident and correct", "confident and incorrect", "uncertain")


@dataclass(frozen=True)
class Shown:
    """The n test examples whose maps are shown; those of one kind follow each other."""

    indices: np.ndarray  # (n,) int64
    probabilities: np.ndarray  # (n, K) float64
    kinds: Sequence[str]  # of KINDS
    maps: Mapping[str, np.ndarray]  # (n, ...) by method, of the most probable class
    scores: Mapping[str, Any]  # as from `verdict.summary`
    notes: Sequence[str]  # for people


def affordable(split: Split, classes: int, seed: int) -> tuple[Split, np.ndarray]:
    """The split, or random examples of it if it has more than MAX_PROBABILITIES; and their increasing indices (n,)."""
    count = max(1, MAX_PROBABILITIES // classes)
    if len(split) <= count:
        return split, np.arange(len(split))
    chosen = np.sort(numpy_generator(seed, "examples to select from").permutation(len(split))[:count])
    return Split(split.inputs[chosen], np.asarray(split.labels)[chosen], split.ids[chosen]), chosen


def select(probabilities: np.ndarray, labels: np.ndarray, per_kind: int) -> dict[str, np.ndarray]:
    """Indices (n,) int64 of `per_kind` images of each of KINDS, by kind.

    From `probabilities` (N, K) and `labels` (N,) int64. Correct ones alternate between the classes, the most confident
    of each first. Uncertain ones have the lowest confidence. No index is repeated, so there may be fewer.
    """
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    ranked = np.argsort(-confidence, kind="stable")
    correct, incorrect = (ranked[(predicted == labels)[ranked] == wanted] for wanted in (True, False))
    turns = pd.Series(correct).groupby(predicted[correct]).cumcount()
    correct, incorrect = correct[np.argsort(turns, kind="stable")][:per_kind], incorrect[:per_kind]
    uncertain = ranked[~np.isin(ranked, [*correct, *incorrect])][::-1][:per_kind]
    return dict(zip(KINDS, (correct, incorrect, uncertain), strict=True))


def once(maps: Callable[[np.ndarray], Maps], first: np.ndarray, second: np.ndarray) -> tuple[Maps, Maps]:
    """The maps of the examples at `first` (n,) and at `second` (m,), by method; of one that is in both only once.

    In a small test set, most examples that are shown are measured too.
    """
    either, indices = np.unique(np.concatenate([first, second]), return_inverse=True)
    found = maps(either)
    of_first, of_second = np.split(indices, [len(first)])
    return {name: found[name][of_first] for name in found}, {name: found[name][of_second] for name in found}
