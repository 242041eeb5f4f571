"""Predictions of a network, without gradients."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import softmax
from torch import nn
from tqdm import tqdm

from darkroom.models import logits, sequences
from darkroom.models.normalisation import normalise

# Pixels of one batch. On a CPU its feature maps should stay in the cache, and below the 32 MB from which the C library
# maps fresh memory for each. 40 photos at a time took three times as long as 4; results are identical bit for bit.
CPU_PIXELS = 4 * 224 * 224
GPU_PIXELS = 500 * 64 * 64  # bounds the memory
CPU_TOKENS, GPU_TOKENS = 2048, 32_768  # elements of a batch of sequences, with its padding


@torch.inference_mode()
def predict(
    network: nn.Module,
    inputs: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    precision: torch.dtype = torch.float32,
    limit: int = 500,
) -> np.ndarray:
    """Logits (N, K) float32 of N >= 1 inputs, on the network's device; see `logits.empty` for where many are kept.

    Inputs are (N, ..., C) uint8, sequences (N, L) int32, or rows (N, C) float32. Logits are computed in `precision`.
    `mean` and `std` are per channel, on the scale 0..1. A batch has at most `limit` inputs, fewer of large ones. Leaves
    the network in evaluation mode.
    """
    network.eval()
    device = next(network.parameters()).device
    parts = _batches(inputs, device, limit)
    found = None
    for part in tqdm(parts, desc="predict", unit="batch", leave=False, disable=None):
        batch = torch.from_numpy(np.array(inputs[part])).to(device)  # a copy: maps are read-only
        # By default a GPU rounds float32 convolutions to TF32, which has 10 bits of mantissa.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with exact, torch.autocast(device.type, precision, enabled=precision != torch.float32):
            answers = network(normalise(batch, mean, std)).float().cpu().numpy()
        found = logits.empty((len(inputs), answers.shape[1])) if found is None else found
        found[part] = answers
        logits.release(found)
    return found


def _batches(inputs: np.ndarray, device: torch.device, limit: int) -> list[slice] | list[np.ndarray]:
    """The parts of the inputs that are computed at once."""
    if sequences.are(inputs):
        return list(sequences.batches(inputs, limit, CPU_TOKENS if device.type == "cpu" else GPU_TOKENS))
    size = batch_size(inputs.shape[1:], device, limit)
    return [slice(start, start + size) for start in range(0, len(inputs), size)]


def batch_size(shape: Sequence[int], device: torch.device, limit: int = 500) -> int:
    """How many inputs of `shape` (..., C) a batch of `predict` holds on `device`: at most `limit`, at least 1."""
    pixels = CPU_PIXELS if device.type == "cpu" else GPU_PIXELS
    return min(limit, max(1, pixels // math.prod(shape[:-1])))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax probabilities (N, K) float64 of logits (N, K) float32."""
    return softmax(logits.astype(np.float64), axis=1)
