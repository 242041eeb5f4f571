"""What a training minimises, and what a batch holds: the part to exchange for another way of learning.

The trainer draws batches, splits them for gradient accumulation and takes steps; an objective turns a batch into a
loss.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class Batch(NamedTuple):
    """Inputs and their targets, on the device."""

    inputs: Tensor  # (N, C, ...) float32, normalised
    targets: Tensor  # (N,) int64 class indices, or (N, K) float32 class probabilities if inputs are mixed

    def split(self, parts: int) -> list["Batch"]:
        """Split into `parts` batches of nearly equal size, for gradient accumulation."""
        return [Batch(*tensors) for tensors in zip(*(tensor.tensor_split(parts) for tensor in self), strict=True)]


class Objective(Protocol):
    """Turns a batch into a loss.

    The hooks are for an objective with a state of its own. They are called in this order: `before_step`; `loss` for
    each part of the batch; `after_step`, when `sums` have been summed over the processes; `observe` and `measured`
    when an epoch ends.
    """

    is_capturable: bool = False  # `loss` depends on the batch and the network alone, so a CUDA graph can hold it
    ranks: bool = False  # many classes: a split is measured block by block, and the lowest loss decides what is best

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mean loss over the batch, and the number of correct predictions; scalars on the device."""
        ...

    def before_step(self, progress: float, average: nn.Module | None) -> None:
        """Prepare for a step, when this fraction of the training is done; `average` is that of the weights, if any."""

    def sums(self) -> list[Tensor]:
        """What the parts of this step have added up, to be summed over the processes in place: float32."""
        return []

    def after_step(self) -> None:
        """Update the state by `sums`."""

    def observe(self, logits: Tensor, labels: Tensor) -> None:
        """Measure the predictions (N, K) float32 on the validation split, with its labels (N,) int64."""

    def measured(self) -> dict[str, float | None]:
        """What was measured in this epoch, by column name; resets it."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """The state that later steps depend on."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""


class Supervised(Objective):
    """Cross-entropy with label smoothing.

    Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016.
    """

    is_capturable = True

    def __init__(self, label_smoothing: float):
        self.label_smoothing = label_smoothing

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective.loss`."""
        return self.compare(network(batch.inputs), batch.targets)

    def compare(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and number of correct predictions of logits (N, K), for targets as in `Batch`.

        The prediction for a mixed input is correct if it is the most probable target class. Logits (N, M, K) are those
        of M members of an ensemble: the loss is their mean, and the prediction that of their mean probability.
        """
        if logits.ndim == 3:
            each, repeated = logits.flatten(0, 1), targets.repeat_interleave(logits.shape[1], 0)
            loss, _ = self.compare(each, repeated)
            return loss, self.compare(logits.float().softmax(2).mean(1), targets)[1]
        loss = cross_entropy(logits.float(), targets, label_smoothing=self.label_smoothing)
        labels = targets if targets.ndim == 1 else targets.argmax(1)
        return loss, (logits.argmax(1) == labels).sum()
