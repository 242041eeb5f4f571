"""Predictions of a network, without gradients."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import softmax
from torch import nn
from tqdm import tqdm

from darkroom.models.normalisation import normalise

MAX_PIXELS = 500 * 64 * 64  # of one batch: bounds the memory, whatever the size of the images


@torch.inference_mode()
def predict(
    network: nn.Module,
    inputs: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    precision: torch.dtype = torch.float32,
    batch_size: int = 500,
) -> np.ndarray:
    """Logits (N, K) float32 of inputs (N, ..., C) uint8, computed on the network's device in `precision`.

    `mean` and `std` are per channel, on the scale 0..1. A batch has at most `batch_size` inputs and about
    MAX_PIXELS pixels. Leaves the network in evaluation mode.
    """
    batch_size = min(batch_size, max(1, MAX_PIXELS // math.prod(inputs.shape[1:-1])))
    network.eval()
    device = next(network.parameters()).device
    logits = []
    for start in tqdm(range(0, len(inputs), batch_size), desc="predict", unit="batch", leave=False, disable=None):
        batch = torch.from_numpy(np.array(inputs[start : start + batch_size])).to(device)  # a copy: maps are read-only
        # By default a GPU rounds float32 convolutions to TF32, which has 10 bits of mantissa.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with exact, torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits.append(network(normalise(batch, mean, std)).float().cpu())
    return torch.cat(logits).numpy()


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax probabilities (N, K) float64 of logits (N, K) float32."""
    return softmax(logits.astype(np.float64), axis=1)
