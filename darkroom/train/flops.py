"""What a network costs in arithmetic, and what the machine can do of it at best."""

import copy
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_BATCH = 2  # batch norm needs more than one picture to train


def operations(network: nn.Module, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Operations a picture of `shape` (height, width, channels): of the forward pass, and of forward and backward pass.

    By PyTorch's own counter: convolutions and matrix products, a multiplication and an addition as two. The network is
    left as it was.
    """
    network = (
        copy.deepcopy(network).to("meta").train()
    )  # where nothing is computed, and no fused kernel hides from the counter
    height, width, channels = shape
    with FlopCounterMode(display=False) as forward:
        logits = network(torch.zeros(_BATCH, channels, height, width, device="meta"))
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    return forward.get_total_flops() // _BATCH, (forward.get_total_flops() + backward.get_total_flops()) // _BATCH


def matrix_peak(device: torch.device, dtype: torch.dtype, size: int = 2048, seconds: float = 0.5) -> float:
    """The most operations a second that products of two square matrices reach here and now: the best of those in `seconds`."""
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        started = time.perf_counter()
        product = left @ right
        product[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
