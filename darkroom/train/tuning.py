"""What of a network is trained: all of it, or adapters beside frozen weights; at first perhaps its last layer alone."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from darkroom.core.randomness import derive_seed
from darkroom.models.layers import last_layer
from darkroom.train.config import TrainConfig


class Tuning:
    """Trains every weight of `network` after `freeze_epochs`, in which only its last layer learns.

    The hooks are called in this order: `train` when an epoch begins or resumes; in each step `before_step`,
    `after_backward` with the gradients of the whole batch, and, unless they overflowed, `after_step`, before they are
    cleared. A step is counted from 0 over the whole training.
    """

    def __init__(self, ordinary: nn.Module, network: nn.Module, settings: TrainConfig, steps_per_epoch: int):
        self.ordinary = ordinary  # the network to evaluate and export
        self.network = network  # the one to train: itself, or one with adapters
        self.frozen_steps = round(settings.freeze_epochs * steps_per_epoch)
        self.keeps_statistics = settings.batch_norm == "frozen"
        last = {id(parameter) for parameter in last_layer(network).parameters()}
        self.backbone = [
            parameter for parameter in network.parameters() if parameter.requires_grad and id(parameter) not in last
        ]
        self.is_frozen = False

    def train(self) -> None:
        """Put the network into training mode, without those batch norms whose statistics are kept."""
        self.network.train()
        if self.keeps_statistics:
            for layer in self.network.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()

    def before_step(self, step: int) -> None:
        """Freeze or unfreeze all but the last layer; no gradients are computed for a frozen backbone."""
        is_frozen = step < self.frozen_steps
        if is_frozen != self.is_frozen:
            self.is_frozen = is_frozen
            for parameter in self.backbone:
                parameter.requires_grad_(not is_frozen)

    def after_backward(self) -> None:
        """Add the gradients of what is minimised besides the loss of the batch."""

    def after_step(self, step: int) -> None:
        """Do what must follow a step of the optimiser, while its gradients are there."""

    def merged(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The state dict of the ordinary network for that of the trained one."""
        return weights

    def files(self, weights: Mapping[str, Tensor]) -> dict[str, bytes]:
        """What to keep beside the weights of the ordinary network, by file name, for those of the trained one."""
        return {}

    def state(self) -> tuple[dict[str, Tensor], Any]:
        """The state that later steps depend on: tensors, and values for JSON."""
        return {}, None

    def restore(self, tensors: Mapping[str, Tensor], values: Any) -> None:
        """Restore what `state` returned."""


def build(
    network: nn.Module, settings: TrainConfig, shape: tuple[int, ...], steps: int, steps_per_epoch: int, seed: int
) -> Tuning:
    """The tuning that `settings` ask for, of a network for inputs of `shape`, channels last, in `steps` steps.

    Raises DarkroomError if adapters are asked for, and the network has no layers for them.
    """
    if settings.tune not in ("lora", "adalora"):
        return Tuning(network, network, settings, steps_per_epoch)
    from darkroom.train import adapters  # imports peft, which takes 1.3 s

    torch.manual_seed(derive_seed(seed, "adapters"))
    return adapters.build(network, settings, shape, steps, steps_per_epoch)
