"""Measure a network's accuracy on corrupted images."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from darkroom.core.arrays import Split
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import numpy_generator
from darkroom.core.spelling import counted
from darkroom.models import hardware
from darkroom.models.checkpoints import Trained
from darkroom.models.inference import predict
from darkroom.robustness import corruptions
from darkroom.robustness.corruptions import CORRUPTIONS
from darkroom.robustness.scores import Score, of_classes

MAX_PIXELS = 2**29  # of all corrupted images together: 13 corruptions of 10,000 small images at three severities


def affordable(samples: int, severities: int, shape: Sequence[int]) -> int:
    """`samples`, or as many images of `shape` (H, W, C) as MAX_PIXELS allow for so many severities; at least 1."""
    return min(samples, max(1, MAX_PIXELS // (len(CORRUPTIONS) * severities * math.prod(shape[:-1]))))


def subset(split: Split, samples: int, seed: int) -> Split:
    """At most `samples` examples of the split, random and stratified: each class keeps its fraction to within one."""
    if samples >= len(split):
        return split
    random = numpy_generator(seed, "robustness")
    order = random.permutation(len(split))
    labels = np.asarray(split.labels)[order]
    counts = np.bincount(labels)
    # An example's rank in its class, on the scale 0..1: the first ranks of all classes are a stratified subset. Each
    # class begins at random within its first step, so that some of the classes with few examples are in the subset.
    begins = random.random(len(counts))[labels]
    ranks = (pd.Series(labels).groupby(labels).cumcount().to_numpy() + begins) / counts[labels]
    chosen = np.sort(order[np.argsort(ranks, kind="stable")[:samples]])
    return Split(split.inputs[chosen], labels=split.labels[chosen], ids=split.ids[chosen])


class Kind(Protocol):
    """The corruptions of a kind of example: the modules `corruptions` and `text_corruptions`."""

    CORRUPTIONS: Mapping[str, Any]

    def load(self, split: Split) -> Any:
        """What `corrupt` takes, of the examples of a split."""
        ...

    def corrupt(self, given: Any, name: str, severity: int, seed: int) -> np.ndarray:
        """The corrupted inputs, packed."""
        ...


def measure(
    trained: Trained,
    split: Split,
    severities: Sequence[int],
    seed: int,
    kind: Kind = corruptions,
    score: Score | None = None,
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One row per corruption and severity: corruption, severity, accuracy, or what else `score` gives.

    `names` are the corruptions; without them, all of the kind.
    The network runs in the precision that `train.precision = auto` chooses on its device.
    """
    # channels_last: convolutions would turn the weights in every batch
    network, manifest = trained.network.to(trained.device, memory_format=torch.channels_last), trained.manifest
    precision = hardware.PRECISIONS[hardware.choose_precision("auto", trained.device)]
    answer = partial(predict, network, mean=manifest.mean, std=manifest.std, precision=precision)
    given, score = kind.load(split), score or of_classes(split)
    cases = list(product(names or kind.CORRUPTIONS, severities))
    found = []
    with ThreadPoolExecutor(1) as ahead:  # it corrupts the next examples while the network runs
        pending = [ahead.submit(kind.corrupt, given, *cases[0], seed)]
        for following in tqdm((*cases[1:], None), desc="corruptions", unit="case", leave=False, disable=None):
            corrupted = pending.pop().result()
            pending = [ahead.submit(kind.corrupt, given, *following, seed)] if following else []
            found.append(score(answer, corrupted))
    return pd.concat([pd.DataFrame(cases, columns=["corruption", "severity"]), pd.DataFrame(found)], axis=1)


def summary(table: pd.DataFrame, baseline: pd.DataFrame | None) -> dict[str, float]:
    """Mean accuracy of a table of `measure`, and the accuracy under the worst corruption, averaged over its severities.

    Other scores as accuracies.

    With the table of a baseline network, also the mean corruption error: for each corruption, the sum of the errors
    over the severities divided by that of the baseline, then the mean over the corruptions. Hendrycks and Dietterich,
    "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019.
    """
    means = table.groupby("corruption", sort=False).mean()
    numbers = {}
    for name in table.columns[2:]:
        numbers |= {f"mean_{name}": float(table[name].mean()), f"worst_corruption_{name}": float(means[name].min())}
    if baseline is not None:
        pairs = with_baseline(table, baseline)
        errors = (1 - pairs[["accuracy", "baseline_accuracy"]]).groupby(pairs["corruption"], sort=False).sum()
        numbers["mean_corruption_error"] = float((errors["accuracy"] / errors["baseline_accuracy"]).mean())
    return numbers


def with_baseline(table: pd.DataFrame, baseline: pd.DataFrame | None) -> pd.DataFrame:
    """A table of `measure`, with the column `baseline_accuracy` if there is a baseline."""
    if baseline is None:
        return table
    return table.merge(baseline.rename(columns={"accuracy": "baseline_accuracy"}), on=["corruption", "severity"])


def summary_line(table: pd.DataFrame, images: int) -> str:
    """The main numbers of a table of `measure` in one line, for the terminal."""
    score = table.columns[-1]
    means = table.groupby("corruption")[score].mean()
    name = {"hr_at_10": "HR@10", "roc_auc": "ROC AUC"}.get(score, score)
    return (
        f"{counted(images, 'test example')} under {counted(len(means), 'corruption')}: mean {name} "
        f"{table[score].mean():.2%}, "
        f"lowest {means.min():.2%} ({means.idxmin()})"
    )


def read_baseline(path: str | Path, severities: Sequence[int]) -> pd.DataFrame | None:
    """Read the table of a baseline network at these severities; None if there is no such file.

    It has the columns of `measure`. Lines that begin with # are comments. Raises DarkroomError if the file is not such
    a table, if a row is missing, or if the baseline makes no errors under a corruption: they are a denominator.
    """
    keys = ["corruption", "severity"]
    try:
        table = pd.read_csv(path, comment="#", dtype={"corruption": str, "severity": int, "accuracy": float})
        invalid, repeated = table[~table["accuracy"].between(0, 1)], table[table.duplicated(keys)]
        if len(invalid):
            raise ValueError(f"{_first(invalid)} has accuracy {invalid['accuracy'].iloc[0]}, must be in 0..1")
        if len(repeated):
            raise ValueError(f"{_first(repeated)} appears twice")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise DarkroomError(
            f"{path} is not a table of corruption, severity and accuracy ({error}): restore or delete it."
        ) from None
    table = pd.DataFrame(product(CORRUPTIONS, severities), columns=keys).merge(table, how="left")
    missing = table[table["accuracy"].isna()]
    if len(missing):
        raise DarkroomError(f"{path} has no row for {_first(missing)}: measure the baseline again, or delete the file.")
    lowest = table.groupby("corruption", sort=False)["accuracy"].min()
    if (lowest == 1).any():
        raise DarkroomError(
            f"{path}: the baseline makes no errors under {lowest.idxmax()}, so no error can be relative to it. "
            "Use a weaker baseline, or delete the file."
        )
    return table


def _first(table: pd.DataFrame) -> str:
    corruption, severity = table[["corruption", "severity"]].iloc[0]
    return f"{corruption} at severity {severity}"
