"""How much of a network's accuracy is left on corrupted pictures."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from darkroom.arrays import Manifest, Split, read_whole
from darkroom.corruptions import CORRUPTIONS, corrupt
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


def summary(table: pd.DataFrame) -> dict[str, object]:
    """The mean accuracy over all rows of a table of `measure`, and over the severities of each corruption, by its name."""
    means = table.groupby("corruption", sort=False)["accuracy"].mean()
    return {"mean_accuracy": float(table["accuracy"].mean()), "accuracy": {str(name): float(mean) for name, mean in means.items()}}
