"""The inputs of a split by their indices: held on the device if they fit, else read from disk in advance."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import chain, pairwise
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from darkroom.core import arrays
from darkroom.models import hardware
from darkroom.train import memory

MAX_MEMORY_FRACTION = 0.5  # of the free memory; inputs that need more are read from disk batch by batch
BLOCK_BYTES = 2**24  # of host memory through which inputs are copied to a GPU
READERS = 8  # threads that read from disk: a disk answers many requests at a time, each with some latency

T = TypeVar("T")


class Loader:
    """Loads the inputs `stored` (N, ..., C) as they are."""

    def __init__(self, stored: np.ndarray, device: torch.device, local_count: int = 1):
        self.stored, self.device = stored, device
        # A process that has read its copy leaves less for the next, which may choose otherwise: the bits are the same.
        copies = local_count if device.type == "cpu" else 1
        fits = copies * stored.nbytes <= MAX_MEMORY_FRACTION * memory.free(device)
        self.in_memory = self._read_whole() if fits else None

    def load(self, requests: Iterable[tuple[T, Tensor]]) -> Iterator[tuple[T, Tensor]]:
        """For each request, its first part and the inputs (M, ..., C) at its indices (M,) int64, on the device."""
        if self.in_memory is not None:
            for request, indices in requests:
                yield request, self.in_memory[hardware.send(indices, self.device)]
            return
        with ThreadPoolExecutor(READERS) as pool:
            started = ((request, *self._start_reading(indices, pool)) for request, indices in requests)
            for (request, inputs, parts), _ in pairwise(chain(started, [None])):  # the next one is being read already
                for part in parts:
                    part.result()
                yield request, hardware.send(inputs, self.device)
                if self.device.type == "cuda":  # else the CPU would fill its memory with batches for steps to come
                    torch.cuda.current_stream().synchronize()

    def _read_whole(self) -> Tensor:
        """All inputs (N, ..., C) on the device."""
        if self.device.type == "cpu":
            return torch.from_numpy(arrays.read_whole(self.stored))
        inputs = torch.empty(self.stored.shape, dtype=_dtype(self.stored), device=self.device)
        fill(inputs, self.stored)
        return inputs

    def _start_reading(self, indices: Tensor, pool: Executor) -> tuple[Tensor, list[Future]]:
        """The inputs (N, ..., C) at `indices` (N,); complete when all futures are done."""
        shape = (len(indices), *self.stored.shape[1:])
        inputs = torch.empty(shape, dtype=_dtype(self.stored), pin_memory=self.device.type == "cuda")
        parts = zip(inputs.tensor_split(READERS), indices.tensor_split(READERS), strict=True)
        return inputs, [
            pool.submit(arrays.read_into, part.numpy(), self.stored, chosen.numpy()) for part, chosen in parts
        ]


def fill(out: Tensor, inputs: np.ndarray) -> None:
    """Copy the inputs (N, ...) of a split into `out` (N, ...) of the same dtype, on any device.

    Only a block of BLOCK_BYTES, or of one input, is in host memory at a time.
    """
    size = max(1, BLOCK_BYTES // inputs[0].nbytes)
    for start in range(0, len(inputs), size):
        chosen = np.arange(start, min(start + size, len(inputs)))
        block = np.empty((len(chosen), *inputs.shape[1:]), inputs.dtype)
        arrays.read_into(block, inputs, chosen)
        out[start : start + size] = torch.from_numpy(block)


def _dtype(inputs: np.ndarray) -> torch.dtype:
    return torch.from_numpy(np.empty(0, inputs.dtype)).dtype
