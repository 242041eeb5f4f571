"""How much of a network's accuracy is left on corrupted pictures."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from darkroom.core.arrays import Split, read_whole
from darkroom.core.errors import DarkroomError
from darkroom.models import hardware
from darkroom.models.inference import predict
from darkroom.models.trained import Trained
from darkroom.robustness.corruptions import CORRUPTIONS, corrupt


def measure(trained: Trained, split: Split, severities: Sequence[int], seed: int) -> pd.DataFrame:
    """One row per corruption and severity, in their order: corruption, severity, accuracy.

    The network computes on the device and in the precision that training would choose; the next images are corrupted
    meanwhile.
    """
    network, manifest = trained.network.to(trained.device), trained.manifest
    precision = hardware.PRECISIONS[hardware.choose_precision("auto", trained.device)]
    images, labels = read_whole(split.inputs), np.asarray(split.labels)
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


def summary(table: pd.DataFrame, baseline: pd.DataFrame | None) -> dict[str, float]:
    """The mean accuracy over all rows of a table of `measure`, and the accuracy under the worst corruption.

    With the same rows of another network, `baseline`, also the mean corruption error: for each corruption the sum of
    the errors over the severities as a share of the other network's, averaged. Hendrycks and Dietterich, "Benchmarking
    neural network robustness to common corruptions and perturbations", ICLR 2019.
    """
    means = table.groupby("corruption", sort=False)["accuracy"].mean()
    found = {"mean_accuracy": float(table["accuracy"].mean()), "worst_corruption_accuracy": float(means.min())}
    if baseline is not None:
        pairs = with_baseline(table, baseline)
        errors = (1 - pairs[["accuracy", "baseline_accuracy"]]).groupby(pairs["corruption"], sort=False).sum()
        found["mean_corruption_error"] = float((errors["accuracy"] / errors["baseline_accuracy"]).mean())
    return found


def with_baseline(table: pd.DataFrame, baseline: pd.DataFrame | None) -> pd.DataFrame:
    """A table of `measure` with the accuracy of the baseline network as the column `baseline_accuracy`, if there is one."""
    if baseline is None:
        return table
    return table.merge(baseline.rename(columns={"accuracy": "baseline_accuracy"}), on=["corruption", "severity"])


def sentence(table: pd.DataFrame, images: int) -> str:
    """One line about a table of `measure`, for the terminal."""
    means = table.groupby("corruption")["accuracy"].mean()
    return (
        f"{images} test images, corrupted: mean accuracy {table['accuracy'].mean():.2%}, "
        f"lowest {means.min():.2%} ({means.idxmin()})"
    )


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
        raise DarkroomError(
            f"{path} is no table of corruption, severity and accuracy ({error}): restore it, or remove it."
        ) from None
    table = pd.DataFrame(product(CORRUPTIONS, severities), columns=keys).merge(table, how="left")
    lacking = table[table["accuracy"].isna()]
    if len(lacking):
        raise DarkroomError(f"{path} has no row for {_first(lacking)}: measure it anew, or remove it.")
    least = table.groupby("corruption", sort=False)["accuracy"].min()
    if (least == 1).any():
        raise DarkroomError(
            f"{path} is of a network that never errs under {least.idxmax()}: take the accuracies of a weaker one, or remove it."
        )
    return table


def _first(table: pd.DataFrame) -> str:
    corruption, severity = table[["corruption", "severity"]].iloc[0]
    return f"{corruption} at severity {severity}"
