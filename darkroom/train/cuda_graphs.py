"""CUDA graphs: many kernels that start as one.

A step of a small network consists of hundreds of short kernels, and a GPU waits for the start of each. A graph records
them once; replaying it starts all of them, on the same memory. See "CUDA graphs" in PyTorch's documentation.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

WARM_UP = 3  # calls for each layout of the inputs before it is recorded: libraries initialise themselves in the first
WAITS = "synchronizing CUDA operation"  # in the warning that PyTorch gives of one
MOST = 16  # layouts that are recorded; others are computed as usual
MAX_MEMORY = 1 / 3  # of the GPU's memory: a graph keeps that of its step, which other calls then need once more


class _Graph(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: Sequence[Tensor]
    outputs: Any


class Recorded:
    """Calls `function`; with tensors of a CUDA GPU it is recorded after some calls, and replayed from then on.

    The function must do the same for all inputs of one layout (shapes, strides and types), besides what `key` says, and
    use no other tensors but those that stay where they are, such as weights. A function that waits for the GPU cannot
    be recorded, and one that needs much memory would gain nothing: these are called every time. Results are the same
    bit for bit either way. The outputs of a replay are overwritten by the next one.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.calls: Counter[Hashable] = Counter()
        self.graphs: dict[Hashable, _Graph] = {}
        self.is_recordable = True

    def __call__(self, *inputs: Tensor, key: Hashable = None) -> Any:
        """The outputs of the function: tensors, or a sequence of tensors and None."""
        if not inputs[0].is_cuda:
            return self.function(*inputs)
        layout = key, *((one.shape, one.stride(), one.dtype) for one in inputs)
        if layout not in self.graphs:
            self.calls[layout] += 1
            if not self.is_recordable or self.calls[layout] < WARM_UP or len(self.graphs) == MOST:
                return self.function(*inputs)
            if self.calls[layout] == WARM_UP:
                return self._watched(inputs)
            self.graphs[layout] = self._record(inputs)
        recorded = self.graphs[layout]
        torch._foreach_copy_(recorded.inputs, inputs)
        recorded.graph.replay()
        return recorded.outputs

    def _watched(self, inputs: Sequence[Tensor]) -> Any:
        """Call the function, and find out whether it can be recorded."""
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                outputs = self.function(*inputs)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        waits = any(WAITS in str(one.message) for one in caught)
        needed, memory = (
            torch.cuda.max_memory_allocated(),
            torch.cuda.get_device_properties(inputs[0].device).total_memory,
        )
        self.is_recordable = not waits and needed <= MAX_MEMORY * memory
        return outputs

    def _record(self, inputs: Sequence[Tensor]) -> _Graph:
        graph, own = torch.cuda.CUDAGraph(), [one.clone() for one in inputs]
        pool = next(iter(self.graphs.values())).graph.pool() if self.graphs else None  # replays never overlap
        with torch.cuda.graph(graph, pool, capture_error_mode="thread_local"):  # other threads may read inputs
            outputs = self.function(*own)
        return _Graph(graph, own, outputs)
