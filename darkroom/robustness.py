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

    With the same table of another network, `baseline`, also by how much more often than that one the network errs: the corruption
    error of each corruption, the sum of the errors over the severities as a share of the other's, and their mean. Hendrycks and
    Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019.

    Raises DarkroomError where the baseline lacks a row.
    """
    means = table.groupby("corruption", sort=False)["accuracy"].mean()
    found: dict[str, object] = {"mean_accuracy": float(table["accuracy"].mean()), "accuracy": means.to_dict()}
    if baseline is not None:
        pairs = table.merge(baseline, how="left", on=["corruption", "severity"], suffixes=("", "_baseline"))
        if pairs["accuracy_baseline"].isna().any():
            lacking = pairs[pairs["accuracy_baseline"].isna()].iloc[0]
            raise DarkroomError(f"The baseline has no row for {lacking['corruption']} at severity {lacking['severity']}: measure it anew (data/baselines).")
        errors = (1 - pairs[["accuracy", "accuracy_baseline"]]).groupby(pairs["corruption"], sort=False).sum()
        ratios = errors["accuracy"] / errors["accuracy_baseline"].clip(lower=1e-9)  # a baseline that never errs
        found |= {"mean_corruption_error": float(ratios.mean()), "corruption_error": ratios.to_dict()}
    return found


def read_baseline(path: str | Path) -> pd.DataFrame | None:
    """The table of another network, as the stage writes it; None where there is no such file. Raises DarkroomError where it is none."""
    try:
        table = pd.read_csv(path)
        return table.astype({"corruption": str, "severity": int, "accuracy": float}, errors="raise")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise DarkroomError(f"{path} is no table of corruption, severity and accuracy ({error}): restore it, or remove it.") from None
