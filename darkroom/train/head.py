"""Train the last layer of a network alone, on features that the frozen rest computes once."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.core.arrays import Manifest, Split
from darkroom.models import hardware
from darkroom.models.layers import last_layer
from darkroom.train import features
from darkroom.train.augmentation import UNCHANGED
from darkroom.train.config import TrainConfig
from darkroom.train.objective import Objective
from darkroom.train.trainer import Trainer


class Head(nn.Module):
    """The last layer of a network as a network of its own."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, classes) of features (N, D) float32."""
        return self.head(inputs)


class HeadTrainer(Trainer):
    """Trains the layer `head` of a network by the recipe `settings`, without augmentation, which features exclude."""

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        train: Split,
        val: Split,
        manifest: Manifest,
        settings: TrainConfig,
        seed: int,
        device: torch.device,
        built: Mapping[str, Any],  # what the network was built from, see `features.compute`
    ):
        started = time.perf_counter()
        network = network.to(device, memory_format=torch.channels_last)
        found, held_out = (features.compute(network, built, split, manifest) for split in (train, val))
        self.feature_seconds = time.perf_counter() - started
        size = found.inputs.shape[1]
        # Features are used as they are: this mean and standard deviation change nothing.
        as_they_are = replace(manifest, shape=(size,), mean=(0.0,) * size, std=(1 / 255,) * size)
        settings = settings.model_copy(update={"augment": settings.augment.model_copy(update=UNCHANGED)})
        head = Head(last_layer(network))
        super().__init__(head, objective, found, held_out, as_they_are, settings, seed, device, "fp32", fit_stem=False)
        self.whole, self.data = network, manifest  # the head is a layer of the network, so it is trained in place

    def hardware(self) -> str:
        """Device and precision, for people."""
        return f"{hardware.describe(self.device)}, fp32 (only the last layer is trained)"

    def costs(self) -> dict[str, float]:
        """As of every training, with the seconds that the features took: few if they were kept from an earlier one."""
        return {**super().costs(), "feature_seconds": round(self.feature_seconds, 2)}
