"""How much of a network's accuracy is left on corrupted pictures."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from darkroom.arrays import Manifest, Split, read_whole
from darkroom.corruptions import CORRUPTIONS, corrupt
from darkroom.errors import DarkroomError
from darkroom.inference import predict


def measure(network: nn.Module, split: Split, manifest: Manifest, severities: Sequence[int], seed: int, precision: torch.dtype) -> pd.DataFrame:
    """A row for each corruption and severity, in their order: corruption, severity, accuracy.

    The network stays on its device and computes in `precision`; the next pictures are corrupted while it does.
    """
    images, labels = read_whole(split.images), np.asarray(split.labels)
    kinds = list(product(CORRUPTIONS, severities))
    accuracies = []
    with ThreadPoolExecutor(1) as ahead:
        pending = [ahead.submit(corrupt, images, *kinds[0], seed)]
        for following in tqdm((*kinds[1:], None), desc="corruptions", unit="kind", leave=False, disable=None):
            corrupted = pending.pop().result()
            pending = [ahead.submit(corrupt, images, *following, seed)] if following else []
            logits = predict(network, corrupted, manifest.mean, manifest.std, precision)
            accuracies.append(float((logits.argmax(1) == labels).mean()))
    return pd.DataFrame(kinds, columns=["corruption", "severity"]).assign(accuracy=accuracies)


def summary(table: pd.DataFrame, baseline: pd.DataFrame | None) -> dict[str, object]:
    """The mean accuracy over all rows of a table of `measure`, and over the severities of each corruption, by its name.

    With the same rows of another network, `baseline`, also by how much more often than that one the network errs: the corruption
    error of each corruption, the sum of the errors over the severities as a share of the other's, and their mean. Hendrycks and
    Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019.
    """
    means = table.groupby("corruption", sort=False)["accuracy"].mean()
    found: dict[str, object] = {"mean_accuracy": float(table["accuracy"].mean()), "accuracy": means.to_dict()}
    if baseline is not None:
        pairs = table.merge(baseline, on=["corruption", "severity"], suffixes=("", "_baseline"))
        errors = (1 - pairs[["accuracy", "accuracy_baseline"]]).groupby(pairs["corruption"], sort=False).sum()
        ratios = errors["accuracy"] / errors["accuracy_baseline"]
        found |= {"mean_corruption_error": float(ratios.mean()), "corruption_error": ratios.to_dict()}
    return found


def read_baseline(path: str | Path, severities: Sequence[int]) -> pd.DataFrame | None:
    """The table of another network at these severities, as the stage writes it; None where there is no such file.

    Lines that begin with # say what it was made of. Raises DarkroomError where it is no such table, where it lacks a row, or where
    that network never errs under a corruption: no errors can be compared with none.
    """
    keys = ["corruption", "severity"]
    try:
        table = pd.read_csv(path, comment="#", dtype={"corruption": str, "severity": int, "accuracy": float})
        impossible, twice = table[~table["accuracy"].between(0, 1)], table[table.duplicated(keys)]
        if len(impossible):
            raise ValueError(f"{_first(impossible)} has the accuracy {impossible['accuracy'].iloc[0]}")
        if len(twice):
            raise ValueError(f"{_first(twice)} is there twice")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise DarkroomError(f"{path} is no table of corruption, severity and accuracy ({error}): restore it, or remove it.") from None
    table = pd.DataFrame(product(CORRUPTIONS, severities), columns=keys).merge(table, how="left")
    lacking = table[table["accuracy"].isna()]
    if len(lacking):
        raise DarkroomError(f"{path} has no row for {_first(lacking)}: measure it anew, or remove it.")
    least = table.groupby("corruption", sort=False)["accuracy"].min()
    if (least == 1).any():
        raise DarkroomError(f"{path} is of a network that never errs under {least.idxmax()}: take the accuracies of a weaker one, or remove it.")
    return table


def _first(table: pd.DataFrame) -> str:
    corruption, severity = table[["corruption", "severity"]].iloc[0]
    return f"{corruption} at severity {severity}"
