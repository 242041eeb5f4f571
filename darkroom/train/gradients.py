"""Monitor of the gradients of each layer: find layers whose gradients vanish or explode.

A few steps of each epoch are measured. Glorot and Bengio, "Understanding the difficulty of training deep feedforward
neural networks", AISTATS 2010, show vanishing gradients. A healthy step changes a weight by about a thousandth.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor, nn

from darkroom.train.layers import layer_weights
from darkroom.train.sharding import whole

ADAPTER = ".lora_"  # in the names of an adapter's matrices, after that of their layer
VANISHED = 1e-6  # a gradient norm below this fraction of the largest layer's
EXPLODED = 1.0  # an update norm above this fraction of the norm of the weights


class LayerGradients(NamedTuple):
    """One layer in one epoch: means over the measured steps."""

    gradient_norm: float
    update_ratio: float  # norm of the update / norm of the weights; 0 if all weights are 0


class GradientMonitor:
    """Measures gradients and updates of the layers' weights of a network in training, unless they are frozen.

    The matrices of an adapter are measured as one layer, which has the name of the adapted one.
    """

    def __init__(self, network: nn.Module):
        monitored = {id(weight) for weight in layer_weights(network)}
        self.weights = {
            name: weight
            for name, weight in network.named_parameters()
            if id(weight) in monitored or (ADAPTER in name and weight.requires_grad)
        }
        layers = [name.split(ADAPTER)[0].removesuffix(".weight") for name in self.weights]
        self.names = list(dict.fromkeys(layers))
        self.indices = [[index for index, other in enumerate(layers) if other == name] for name in self.names]
        self.reset()

    def reset(self) -> None:
        """Discard all measurements."""
        self.sums = torch.zeros(3, len(self.names))  # gradient norms, update ratios, number of measured steps

    @contextmanager
    def measure_step(self) -> Iterator[None]:
        """Measure the optimiser step that is taken inside; ignore one with gradients that are not finite."""
        weights = self.weights.values()
        before = [weight.detach().clone() for weight in weights]
        trained = self._by_layer([torch.tensor(float(weight.requires_grad)) for weight in weights]).sign()
        norms = self._by_layer([torch.zeros(()) if weight.grad is None else _norm(weight.grad) for weight in weights])
        yield
        updates = self._by_layer([_norm(weight.detach() - old) for weight, old in zip(weights, before, strict=True)])
        sizes = self._by_layer([_norm(old) for old in before])
        if norms.isfinite().all():
            ratios = torch.where(sizes > 0, updates / (sizes + 1e-12), 0.0)
            self.sums += torch.stack([norms, ratios, trained])

    def _by_layer(self, norms: list[Tensor]) -> Tensor:
        """The norm of each layer's weights together (layers,), from that of each weight."""
        return torch.stack([reduce(torch.hypot, [norms[index] for index in indices]) for indices in self.indices])

    def layers(self) -> dict[str, LayerGradients]:
        """The means since the last reset, by layer name; empty if no step was measured."""
        norms, ratios, counts = self.sums.tolist()
        measured = zip(self.names, norms, ratios, counts, strict=True)
        return {name: LayerGradients(norm / count, ratio / count) for name, norm, ratio, count in measured if count}


def _norm(tensor: Tensor) -> Tensor:
    """The norm on the CPU, of a sharded tensor too."""
    return whole(tensor.norm()).cpu()


def warnings(layers: Mapping[str, LayerGradients]) -> list[str]:
    """At most two warnings with advice: one about vanishing, one about exploding gradients."""
    largest = max((layer.gradient_norm for layer in layers.values()), default=0.0)
    vanished = [name for name, layer in layers.items() if layer.gradient_norm <= VANISHED * largest]
    exploded = [name for name, layer in layers.items() if layer.update_ratio > EXPLODED]
    found = []
    if vanished:
        found.append(
            f"Vanishing gradients in {', '.join(vanished)}: these layers have stopped learning. "
            "Use a shallower network or one with residual blocks and norms (resnet), or raise train.lr."
        )
    if exploded:
        found.append(
            f"Exploding updates in {', '.join(exploded)}: one step changes the weights by more than their norm. "
            "Lower train.lr, raise train.warmup_fraction, or set train.grad_clip_norm = 1."
        )
    return found
