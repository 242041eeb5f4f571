"""Floating-point operations (FLOPs) of a network, and the peak FLOPs per second of the machine."""

import copy
import time
from functools import partial

import torch
from torch import nn
from torch.nn.functional import linear
from torch.utils.flop_counter import FlopCounterMode

from darkroom.models.sequences import example

_BATCH = 2  # batch norm needs more than one example in training mode


def count(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """FLOPs per example of `shape` (channels last): of the forward pass, and of forward and backward pass together.

    Counts convolutions and matrix products, a multiply-add as two operations. Does not change the network.
    """
    network = copy.deepcopy(network).to("meta").train()  # on "meta" nothing is computed, and no fused kernel is used
    inputs = example(network, shape, _BATCH, "meta")
    with FlopCounterMode(display=False) as forward:
        logits = network(inputs)
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    return forward.get_total_flops() // _BATCH, (forward.get_total_flops() + backward.get_total_flops()) // _BATCH


def matrix_peak(device: torch.device, dtype: torch.dtype, size: int = 2048, seconds: float = 0.5) -> float:
    """FLOPs per second of a product of two square matrices: the fastest of those measured in `seconds`.

    On a CPU, float32 is also measured with oneDNN, which computes convolutions: MKL, which computes products, is half
    as fast on an AMD processor with AVX-512.
    """
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    products = [partial(torch.mm, left, right)]
    if device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available():
        products.append(partial(linear, left.to_mkldnn(), right.to_mkldnn()))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        for multiply in products:
            started = time.perf_counter()
            product = multiply()
            if device.type != "cpu":
                product[0, 0].item()  # waits for a GPU
            best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
