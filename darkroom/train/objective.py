"""What a training minimises, and what a batch holds: the part that other ways of learning exchange.

The trainer draws batches, splits them for gradient accumulation, and steps; an objective turns a batch into a loss.
"""

from typing import NamedTuple, Protocol

from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class Batch(NamedTuple):
    """Inputs and what they show, on the device."""

    inputs: Tensor  # (N, ...) float32, normalised
    targets: Tensor  # (N,) int64 class indices, or (N, K) float32 class probabilities where inputs are mixed

    def split(self, parts: int) -> list["Batch"]:
        """The batch in nearly equal parts, for gradient accumulation."""
        return [Batch(*tensors) for tensors in zip(*(tensor.tensor_split(parts) for tensor in self), strict=True)]


class Objective(Protocol):
    """How a network learns from a batch."""

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mean loss over the batch, and the number of correct predictions; each a scalar on the device."""
        ...


class Supervised:
    """Cross-entropy against the labels.

    `label_smoothing`: Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016.
    """

    def __init__(self, label_smoothing: float):
        self.label_smoothing = label_smoothing

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective.loss`. A mixed input counts as correct if its most probable class is predicted."""
        logits = network(batch.inputs)
        loss = cross_entropy(logits.float(), batch.targets, label_smoothing=self.label_smoothing)
        labels = batch.targets if batch.targets.ndim == 1 else batch.targets.argmax(1)
        return loss, (logits.argmax(1) == labels).sum()
