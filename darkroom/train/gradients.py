"""Monitor of the gradients of each layer: find layers whose gradients vanish or explode.

A few steps of each epoch are measured. Glorot and Bengio, "Understanding the difficulty of training deep feedforward
neural networks", AISTATS 2010, show vanishing gradients. A healthy step changes a weight by about a thousandth.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from darkroom.train.optimisers import layer_weights

VANISHED = 1e-6  # a gradient norm below this fraction of the largest layer's
EXPLODED = 1.0  # an update norm above this fraction of the norm of the weights


class LayerGradients(NamedTuple):
    """One layer in one epoch: means over the measured steps."""

    gradient_norm: float
    update_ratio: float  # norm of the update / norm of the weights


class GradientMonitor:
    """Measures gradients and updates of the layers' weights of a network in training."""

    def __init__(self, network: nn.Module):
        monitored = {id(weight) for weight in layer_weights(network)}
        self.weights = {name: weight for name, weight in network.named_parameters() if id(weight) in monitored}
        self.reset()

    def reset(self) -> None:
        """Discard all measurements."""
        self.sums = torch.zeros(3, len(self.weights))  # gradient norms, update ratios, number of measured steps

    @contextmanager
    def measure_step(self) -> Iterator[None]:
        """Measure the optimiser step that is taken inside; ignore one with gradients that are not finite."""
        weights = self.weights.values()
        before = [weight.detach().clone() for weight in weights]
        norms = torch.stack(
            [torch.zeros(()) if weight.grad is None else weight.grad.norm().cpu() for weight in weights]
        )
        yield
        updates = torch.stack(
            [(weight.detach() - old).norm().cpu() for weight, old in zip(weights, before, strict=True)]
        )
        sizes = torch.stack([old.norm().cpu() for old in before])
        if norms.isfinite().all():
            self.sums += torch.stack([norms, updates / (sizes + 1e-12), torch.ones_like(norms)])

    def layers(self) -> dict[str, LayerGradients]:
        """The means since the last reset, by layer name; empty if no step was measured."""
        norms, ratios, counts = self.sums.tolist()
        measured = zip(self.weights, norms, ratios, counts, strict=True)
        return {
            name.removesuffix(".weight"): LayerGradients(norm / count, ratio / count)
            for name, norm, ratio, count in measured
            if count
        }


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
