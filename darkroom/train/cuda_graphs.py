"""CUDA graphs: many kernels that start as one.

A step of a small network consists of hundreds of short kernels, and a GPU waits for the start of each. A graph captures
them once; replaying it starts all of them, on the same memory. See "CUDA graphs" in PyTorch's documentation.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

WARM_UP = 3  # calls for each layout of the inputs before it is captured: libraries initialise themselves in the first
MAX_GRAPHS = 16  # for other layouts the function is called as usual
CALLS_IN_MEMORY = 2  # a graph keeps the memory of one call, and calls for another layout need as much again
SYNC_WARNING = "synchronizing CUDA operation"  # in what PyTorch says of an operation that waits for the GPU

Outputs = Sequence[Tensor | None]


class _Graph(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: Sequence[Tensor]  # a replay reads its inputs here
    outputs: Outputs


class Captured:
    """Calls one function on tensors of a CUDA GPU; after some calls it is captured, and replayed from then on.

    The function must do the same for all inputs with the same shapes, strides, types and `key`, and use no other
    tensors but those that stay where they are, such as weights. If it waits for the GPU, needs much memory, or fails to
    be captured, it is called every time. Results are the same bit for bit either way.
    """

    def __init__(self) -> None:
        self.calls: Counter[Hashable] = Counter()
        self.graphs: dict[Hashable, _Graph] = {}
        self.is_capturable = True

    def __call__(self, function: Callable[..., Outputs], *inputs: Tensor, key: Hashable = None) -> Outputs:
        """The outputs of the function, which the next call may overwrite."""
        layout = key, *((one.shape, one.stride(), one.dtype) for one in inputs)
        if layout not in self.graphs:
            self.calls[layout] += 1
            if not self.is_capturable or self.calls[layout] < WARM_UP or len(self.graphs) == MAX_GRAPHS:
                return function(*inputs)
            if self.calls[layout] == WARM_UP:
                self.is_capturable, outputs = _try(function, inputs)
                return outputs
            pool = next((one.graph.pool() for one in self.graphs.values()), None)  # shared: replays never overlap
            try:
                self.graphs[layout] = _capture(function, inputs, pool)
            except RuntimeError:  # such as too little memory
                self.is_capturable = False
            if not self.is_capturable:  # here, where the error no longer holds the memory of the failed capture
                return function(*inputs)
        captured = self.graphs[layout]
        torch._foreach_copy_(captured.inputs, inputs)
        captured.graph.replay()
        return captured.outputs


def _try(function: Callable[..., Outputs], inputs: Sequence[Tensor]) -> tuple[bool, Outputs]:
    """Whether the function can be captured, as far as a call of it shows, and its outputs."""
    held, before = torch.cuda.memory_allocated(), torch.cuda.get_sync_debug_mode()
    torch.cuda.reset_peak_memory_stats()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            outputs = function(*inputs)
        finally:
            torch.cuda.set_sync_debug_mode(before)
    waits = any(SYNC_WARNING in str(one.message) for one in caught)
    needed = torch.cuda.max_memory_allocated() - held
    room = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - held  # free, or kept free by PyTorch
    return not waits and CALLS_IN_MEMORY * needed <= room, outputs


def _capture(function: Callable[..., Outputs], inputs: Sequence[Tensor], pool: tuple[int, int] | None) -> _Graph:
    graph, own, stream = torch.cuda.CUDAGraph(), [one.clone() for one in inputs], torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, pool, capture_error_mode="thread_local"):  # other threads may read inputs
            outputs = function(*own)
    finally:
        torch.cuda.set_stream(stream)  # which PyTorch does not restore if it cannot end the capture
    return _Graph(graph, own, outputs)
