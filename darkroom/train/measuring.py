"""Measure a split after an epoch: processes take turns by blocks, so that a block is identical bit for bit in any."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from darkroom.train.processes import Processes

MAX_LOGITS = 2**24  # of a block with many classes


def in_turns(of: Callable[[np.ndarray], Tensor], count: int, width: int, size: int, processes: Processes) -> Tensor:
    """What `of` says of `count` examples, (count, width) float32; it returns (n, width) for their indices (n,).

    A block has at most `size` examples. All processes compute the same number of blocks: a sharded network needs it.
    """
    blocks = np.split(np.arange(count), range(size, count, size))
    found = torch.zeros(count, width)
    for turn in range(math.ceil(len(blocks) / processes.count)):
        number = turn * processes.count + processes.rank
        block = blocks[min(number, len(blocks) - 1)]
        measured = of(block)
        if number < len(blocks):
            found[block] = measured
    processes.sum([found])  # each row is 0 in all processes but one
    return found


def ranked(
    logits: Callable[[np.ndarray], Tensor], labels: Tensor, classes: int, size: int, processes: Processes
) -> tuple[float, float]:
    """Loss and accuracy over labels (N,) of so many classes that no logits are kept: (n, classes) for indices (n,)."""

    def scores(block: np.ndarray) -> Tensor:
        found, wanted = logits(block), labels[block]
        return torch.stack([cross_entropy(found, wanted, reduction="none"), (found.argmax(1) == wanted).float()], 1)

    size = max(1, min(size, MAX_LOGITS // classes))
    losses, correct = in_turns(scores, len(labels), 2, size, processes).double().mean(0).tolist()
    return losses, correct
