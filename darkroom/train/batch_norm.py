"""Running statistics of batch norm when a batch is trained on in parts, by one process or by several."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from darkroom.train.processes import Processes


@contextmanager
def in_parts(network: nn.Module, processes: Processes) -> Iterator[Callable[[], None]]:
    """Yield a function to call after the forward pass of each part; at the end, update the running statistics.

    They are updated by the statistics of one part after the other, in the order of the parts: those of the first
    process come first. So they are identical bit for bit however many processes share the parts.
    """
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.running_mean is not None
    ]
    momenta = [layer.momentum for layer in layers]
    buffers = [buffer for layer in layers for buffer in (layer.running_mean, layer.running_var)]
    if not buffers:
        yield lambda: None
        return
    before = [buffer.clone() for buffer in buffers]
    seen = [layer.num_batches_tracked.clone() for layer in layers]
    parts: list[Tensor] = []
    for layer in layers:
        layer.momentum = 1.0  # the running statistics become those of the part
    try:
        yield lambda: parts.append(torch.cat(buffers))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    statistics = torch.cat(before)
    gathered = processes.gather(torch.stack(parts)).flatten(0, 1)  # (parts, features)
    for number, part in enumerate(gathered, 1):
        weights = [
            torch.full((2 * layer.num_features,), 1 / (int(count) + number) if momentum is None else momentum)
            for layer, momentum, count in zip(layers, momenta, seen, strict=True)
        ]
        statistics = statistics.lerp(part, torch.cat(weights).to(part.device))
    for buffer, updated in zip(buffers, statistics.split([len(buffer) for buffer in buffers]), strict=True):
        buffer.copy_(updated)
    for layer, count in zip(layers, seen, strict=True):
        layer.num_batches_tracked.copy_(count + len(gathered))


@contextmanager
def without_statistics(network: nn.Module) -> Iterator[None]:
    """Let forward passes in training mode leave the running statistics as they are."""
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    for layer in layers:
        if layer.training:
            layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


@contextmanager
def predicting(network: nn.Module, with_batch: bool) -> Iterator[None]:
    """Evaluation mode; `with_batch`, those batch norms that train normalise by the batch, and update their statistics.

    At the end each module has the mode that it had.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    for module, was_training in modes.items():
        if with_batch and was_training and isinstance(module, _BatchNorm):
            module.train()
    try:
        yield
    finally:
        for module, was_training in modes.items():
            module.training = was_training
