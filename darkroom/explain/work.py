"""How long a network takes by its size: the same number on every machine, unlike a measurement."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from darkroom.models.sequences import example

# Per second, of two cores of an older server; an AMD EPYC (Zen 5) was twice as fast. Networks with depthwise
# convolutions are limited by the second: efficientnet_lite0 writes 28 million values for 0.8 billion FLOPs.
FLOPS = 2e11  # floating-point operations of convolutions and matrix products
VALUES = 4e9  # numbers that operations write
_BATCH = 2  # batch norm needs more than one example in training mode


def seconds(network: nn.Module, shape: Sequence[int]) -> float:
    """Nominal seconds of the forward pass for one input of `shape` (..., C), on a CPU in float32.

    FLOPs and written values, each divided by its speed. Does not change the network.
    """
    # On "meta" nothing is computed; in training mode no fused kernel hides the operations.
    network = copy.deepcopy(network).to("meta").train()
    inputs = example(network, shape, _BATCH, "meta")
    with FlopCounterMode(display=False) as flops, _Written() as written:
        network(inputs)
    return (flops.get_total_flops() / FLOPS + written.values / VALUES) / _BATCH


class _Written(TorchDispatchMode):
    """Counts the values that operations write; a view writes none."""

    values = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if not operation.is_view:
            self.values += sum(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
        return result
