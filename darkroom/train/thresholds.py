"""From which confidence a prediction for an unlabelled example becomes its label."""

from typing import NamedTuple

import torch
from torch import Tensor

MOMENTUM = 0.99  # of the running means; FreeMatch has 0.999 for a million steps, and here a thousand are usual


class Tally(NamedTuple):
    """Sums over the predictions for unlabelled examples, float32 on the device."""

    probabilities: Tensor  # (K,)
    predicted: Tensor  # (K,) examples by predicted class
    used: Tensor  # (K,) those of them that become labels
    confidence: Tensor  # () of the predictions

    @classmethod
    def zero(cls, classes: int, device: torch.device) -> "Tally":
        """No predictions."""
        return cls(*(torch.zeros(classes, device=device) for _ in range(3)), torch.zeros((), device=device))


class Fixed:
    """The same threshold for all classes, always."""

    def __init__(self, threshold: float, classes: int, device: torch.device):
        self.by_class = torch.full((classes,), threshold, device=device)  # (K,) float32

    def update(self, tally: Tally) -> None:
        """Learn from the predictions of a step."""

    def state(self) -> dict[str, Tensor]:
        """What `update` has learned."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned."""


class SelfAdaptive(Fixed):
    """Thresholds that follow the confidence of the network, lower for classes that it predicts less.

    Wang et al., "FreeMatch: self-adaptive thresholding for semi-supervised learning", ICLR 2023, equations 5 to 8. They
    are those after the last step, so that all parts of a batch have the same ones, and at most `threshold`.
    """

    def __init__(self, threshold: float, classes: int, device: torch.device):
        super().__init__(threshold, classes, device)
        self.limit = threshold
        self.confidence = torch.full((), 1 / classes, device=device)  # running mean
        self.probabilities = torch.full((classes,), 1 / classes, device=device)  # running mean (K,)
        self.predicted = self.probabilities.clone()  # running fraction of the predictions (K,)
        self._set()

    def update(self, tally: Tally) -> None:
        """See `Fixed.update`."""
        count = tally.predicted.sum()
        for running, total in (
            (self.confidence, tally.confidence),
            (self.probabilities, tally.probabilities),
            (self.predicted, tally.predicted),
        ):
            running.lerp_(total / count, 1 - MOMENTUM)
        self._set()

    def _set(self) -> None:
        relative = self.probabilities / self.probabilities.max()
        self.by_class = (self.confidence * relative).clamp(max=self.limit)

    def state(self) -> dict[str, Tensor]:
        """See `Fixed.state`."""
        return {name: getattr(self, name) for name in ("confidence", "probabilities", "predicted")}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See `Fixed.restore`."""
        for name, own in self.state().items():
            own.copy_(state[name])
        self._set()
