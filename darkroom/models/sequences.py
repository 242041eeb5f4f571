"""Inputs that are sequences of indices, such as texts: (N, L) integers, padded with PADDING at the end.

Padding is cut off to the longest sequence of a batch, and sequences of similar length share a batch, so that little of
it is computed. What a network gives for a sequence must not depend on its padding.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from darkroom.models.columns import RowNetwork

PADDING = 0
DTYPE = np.int32  # of packed sequences; images are uint8
_SORTED_BATCHES = 50  # of a training: so many batches of random examples are sorted by length together


class SequenceNetwork(nn.Module):
    """A network of sequences: its `embedding` turns indices into vectors, `features` these into what `head` classifies.

    The parts are separate so that explanations can change the vectors.
    """

    embedding: nn.Embedding
    head: nn.Linear

    def forward(self, indices: Tensor) -> Tensor:
        """Indices (N, L) int64 to logits (N, classes)."""
        return self.head(self.features(self.embedding(indices), indices != PADDING))

    def features(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """Features (N, D) of vectors (N, L, E); where `mask` (N, L) is false, they are padding."""
        raise NotImplementedError


def are(inputs: np.ndarray | Tensor) -> bool:
    """Whether packed or loaded inputs are sequences."""
    return inputs.dtype in (np.dtype(DTYPE), torch.int32)


def trimmed(sequences: Tensor) -> Tensor:
    """Sequences (N, L) of integers as (N, l) int64, without what is padding in all of them; l is at least 1."""
    held = (sequences != PADDING).any(0).nonzero()
    return sequences[:, : int(held[-1]) + 1 if len(held) else 1].long()


def lengths(inputs: np.ndarray) -> np.ndarray:
    """The number of indices before the padding of each sequence (N, L): (N,) int64."""
    return (inputs != PADDING).sum(1)


def batches(inputs: np.ndarray, size: int, elements: int) -> Iterator[np.ndarray]:
    """Indices (n,) of the sequences (N, L) of each batch, the shortest first.

    A batch has at most `size` sequences and, unless it has only one, `elements` elements with its padding.
    """
    found = lengths(inputs)
    order, start = np.argsort(found, kind="stable"), 0
    while start < len(order):
        widths = np.maximum(1, found[order[start : start + size]])
        fitting = (widths * np.arange(1, len(widths) + 1) <= elements).sum()  # the last is the longest
        yield order[start : start + max(1, fitting)]
        start += max(1, int(fitting))


def grouped(order: Tensor, found: np.ndarray, steps: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The examples of each of the `steps` of an epoch: those of a random `order` (n,) int64, but alike in length.

    `found` (N,) are the lengths of all examples. In an order (n, R), rows are kept together, and each has examples of
    similar length. The first n % steps batches have one row more than the others.
    """
    known = torch.from_numpy(found)
    pools = [pool.flatten() for pool in order.tensor_split(max(1, steps // _SORTED_BATCHES))]
    ordered = torch.cat([pool[known[pool].argsort(stable=True)] for pool in pools]).view_as(order).tensor_split(steps)
    turns = torch.randperm(steps, generator=generator)
    larger = turns < len(order) % steps
    return tuple(ordered[turn] for turn in torch.cat([turns[larger], turns[~larger]]).tolist())


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The inputs (n, ...) of several batches as one; sequences get padding up to the longest one."""
    if parts[0].dtype == torch.int64:
        longest = max(part.shape[1] for part in parts)
        parts = [nn.functional.pad(part, (0, longest - part.shape[1]), value=PADDING) for part in parts]
    return torch.cat([*parts])


def example(network: nn.Module, shape: tuple[int, ...], count: int, device: str = "cpu") -> Tensor:
    """Inputs of `network` for examples of `shape`, all alike: (count, C, ...) float32, or sequences (count, L) int64.

    `shape` is (L, kinds of indices) for sequences, has one number per column for rows, and is channels last for images.
    """
    if any(isinstance(part, RowNetwork) for part in network.modules()):
        return torch.zeros(count, len(shape), device=device)
    if any(isinstance(part, SequenceNetwork) for part in network.modules()):
        return torch.ones(count, shape[0], dtype=torch.int64, device=device)
    return torch.zeros(count, *shape, device=device).movedim(-1, 1)
