"""The health of the gradients: whether each layer still learns, and whether it is torn apart.

A few steps of each epoch are looked at. Glorot and Bengio, "Understanding the difficulty of training deep feedforward
neural networks", AISTATS 2010, show what vanishing looks like; a healthy step changes a weight by about a thousandth.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from darkroom.train.optimisers import layer_weights

VANISHED = 1e-6  # of the largest layer's gradient: what is smaller teaches its layer nothing
EXPLODED = 1.0  # of the weights: a step that changes a layer by more than all of itself


class Layer(NamedTuple):
    """One layer in one epoch: means over the steps looked at."""

    gradient_norm: float
    update_ratio: float  # the norm of a step's change over the norm of the weights


class Watch:
    """Measures the weights of the layers of a network that is being trained."""

    def __init__(self, network: nn.Module):
        watched = {id(weight) for weight in layer_weights(network)}
        self.weights = {name: weight for name, weight in network.named_parameters() if id(weight) in watched}
        self.reset()

    def reset(self) -> None:
        """Forgets what was measured."""
        self.sums = torch.zeros(3, len(self.weights))  # gradient norms, update ratios, and how many of them

    @contextmanager
    def step(self) -> Iterator[None]:
        """Measures the optimiser's step that is taken inside; one with gradients that are not finite is left out."""
        weights = self.weights.values()
        before = [weight.detach().clone() for weight in weights]
        norms = torch.stack(
            [torch.zeros(()) if weight.grad is None else weight.grad.norm().cpu() for weight in weights]
        )
        yield
        changes = torch.stack(
            [(weight.detach() - old).norm().cpu() for weight, old in zip(weights, before, strict=True)]
        )
        sizes = torch.stack([old.norm().cpu() for old in before])
        if norms.isfinite().all():
            self.sums += torch.stack([norms, changes / (sizes + 1e-12), torch.ones_like(norms)])

    def layers(self) -> dict[str, Layer]:
        """What was measured since the last reset, by the name of the layer; nothing if no step was looked at."""
        norms, ratios, counts = self.sums.tolist()
        measured = zip(self.weights, norms, ratios, counts, strict=True)
        return {
            name.removesuffix(".weight"): Layer(norm / count, ratio / count)
            for name, norm, ratio, count in measured
            if count
        }


def advice(layers: dict[str, Layer]) -> list[str]:
    """A sentence with advice on gradients that vanish and one on those that explode, if any do."""
    largest = max((layer.gradient_norm for layer in layers.values()), default=0.0)
    vanished = [name for name, layer in layers.items() if layer.gradient_norm <= VANISHED * largest]
    exploded = [name for name, layer in layers.items() if layer.update_ratio > EXPLODED]
    sentences = []
    if vanished:
        sentences.append(
            f"The gradients vanish in {', '.join(vanished)}: these layers no longer learn. "
            "Use a shallower network or one with residuals and norms (resnet), or raise train.lr."
        )
    if exploded:
        sentences.append(
            f"The steps explode in {', '.join(exploded)}: one changes the weights by more than their size. "
            "Lower train.lr, lengthen train.warmup_fraction, or set train.grad_clip_norm = 1."
        )
    return sentences
