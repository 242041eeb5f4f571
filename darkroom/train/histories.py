"""Learn from histories: at every position, predict the item that comes next.

The loss is the cross-entropy over all items, or, for many items, over the item that came next and `sampled_items`
others: Bengio and Senecal, "Adaptive importance sampling to accelerate training of a neural probabilistic language
model", 2008. The others are drawn by their frequency in training, and the logarithm of that is subtracted from their
logits (Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019), so
that the mean of the sampled sum of exponentials is that over all items.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.models import sequences
from darkroom.models.histories import HistoryNetwork
from darkroom.models.sequences import PADDING
from darkroom.train.config import TrainConfig
from darkroom.train.objective import Batch, Objective

ARRAYS = "data/arrays"
BLOCK = 2**22  # logits that are computed at a time: they stay in the cache of a CPU, and bound the memory


class NextItems(Objective):
    """The mean loss over all items of histories but the first, which nothing precedes.

    Each item has the same weight, however long its history is: a batch has the sum of its losses, divided by the number
    of its examples and by `targets`, the mean number of items that an example predicts. So the gradient does not depend
    on how a batch is split. Predictions are counted at the end of each history alone.
    """

    ranks = True

    def __init__(self, targets: float, label_smoothing: float, frequencies: Tensor | None = None, sampled: int = 0):
        self.targets, self.label_smoothing = targets, label_smoothing
        self.frequencies, self.sampled = frequencies, sampled  # (K,) float32, whose sum is 1; number of sampled items

    def loss(self, network: HistoryNetwork, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective.loss`; the inputs are histories (N, L) int64, the targets (N,) their labels."""
        inputs = sequences.trimmed(batch.inputs)  # a part of a batch may be shorter, as that of a process is
        mask = inputs != PADDING
        states = network.positions(network.embedding(inputs), mask)
        wanted = following(inputs, batch.targets)[mask]
        total = (self._sampled if self.sampled else self._whole)(network, states[mask], wanted)
        with torch.no_grad():
            last = states[torch.arange(len(mask), device=mask.device), mask.sum(1) - 1]
            correct = (network.head(last).argmax(1) == batch.targets).sum()
        return total / (self.targets * len(mask)), correct

    def _whole(self, network: HistoryNetwork, states: Tensor, wanted: Tensor) -> Tensor:
        """The sum of the cross-entropies over all items, of states (P, D) with targets (P,)."""
        items = network.embedding.vectors()
        return _CrossEntropy.apply(states, items, network.head.bias, wanted, self.label_smoothing)

    def _sampled(self, network: HistoryNetwork, states: Tensor, wanted: Tensor) -> Tensor:
        """The sum of the cross-entropies over sampled items; those of a step are the same for all states (P, D)."""
        drawn = torch.rand(self.sampled, device=states.device)  # the trainer seeds each step
        ends = self.frequencies.cumsum(0)
        others = torch.searchsorted(ends, drawn).clamp(max=len(ends) - 1)
        return sampled_loss(
            network.head.paired(states, wanted).float(),
            network.head.of(states, others).float(),
            (self.sampled * self.frequencies[others]).log(),
            others == wanted[:, None],
        ).sum()


def following(inputs: Tensor, labels: Tensor) -> Tensor:
    """The class (N, L) that comes next at each position of histories (N, L); that of padding means nothing."""
    wanted = torch.cat([inputs[:, 1:], torch.zeros_like(inputs[:, :1])], 1) - 1
    last = (inputs != PADDING).sum(1, keepdim=True) - 1
    return wanted.scatter(1, last, labels[:, None])


def sampled_loss(wanted: Tensor, others: Tensor, log_expected: Tensor, hits: Tensor) -> Tensor:
    """Cross-entropy (P,) of the logits (P,) that are wanted, among these and those of sampled items, (P, n).

    `log_expected` (n,) is the logarithm of how often each of these is expected in a sample. Where `hits` (P, n) is
    true, the sampled item is the wanted one, and does not count again.
    """
    corrected = (others - log_expected).masked_fill(hits, -torch.inf)
    return torch.logsumexp(torch.cat([wanted[:, None], corrected], 1), 1) - wanted


class _CrossEntropy(torch.autograd.Function):
    """The sum of cross-entropies over many classes, block by block, with its gradient: no logits are kept.

    What autograd would do takes several times the memory of all logits.
    """

    @staticmethod
    def forward(context: Any, states: Tensor, items: Tensor, bias: Tensor, wanted: Tensor, smoothing: float) -> Tensor:
        """Of states (P, D), vectors of items (K, D), biases (K,) and targets (P,) int64."""
        of_states, of_items, of_bias = torch.empty_like(states), torch.zeros_like(items), torch.zeros_like(bias)
        total = torch.zeros((), device=states.device)
        size = max(1, BLOCK // len(items))
        for start in range(0, len(states), size):
            part, labels = states[start : start + size], wanted[start : start + size, None]
            logits = torch.nn.functional.linear(part, items, bias).float()
            logits -= torch.logsumexp(logits, 1, keepdim=True)
            total -= (1 - smoothing) * logits.gather(1, labels).sum() + smoothing * logits.mean(1).sum()
            change = logits.exp_()  # of the loss with the logits: probabilities less targets
            change -= smoothing / len(items)
            change.scatter_add_(1, labels, torch.full_like(labels, smoothing - 1, dtype=change.dtype))
            of_states[start : start + size] = change @ items
            of_items += change.T @ part
            of_bias += change.sum(0)
        context.save_for_backward(of_states, of_items, of_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(context: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of states, items and biases."""
        return (*(scale * gradient for gradient in context.saved_tensors), None, None)


def objective(settings: TrainConfig, manifest: Manifest, train: Split, device: torch.device) -> NextItems:
    """The objective for the histories of the split `train`.

    Raises DarkroomError if `settings` ask for what does not go with histories.
    """
    if settings.distill.teacher != "none":
        raise DarkroomError(
            f"train.distill.teacher = {settings.distill.teacher!r} does not go with histories: set it to none."
        )
    if settings.parallel == "sharded":
        raise DarkroomError("train.parallel = 'sharded' does not go with histories: set it to data.")
    count = len(manifest.classes)
    targets = float(sequences.lengths(train.inputs).mean())
    if not 0 < settings.sampled_items < count:  # so few items are compared whole
        return NextItems(targets, settings.label_smoothing)
    seen = 1 + occurrences(train, count)  # 1: an item without events is drawn too
    frequencies = torch.from_numpy((seen / seen.sum()).astype(np.float32)).to(device)
    return NextItems(targets, settings.label_smoothing, frequencies, settings.sampled_items)


def prepare(network: HistoryNetwork, manifest: Manifest, train: Split) -> None:
    """Give a network of histories the features of the items, if they have any, and their popularity in training."""
    if manifest.shape[2]:
        network.fit_items(arrays.read_items(ARRAYS).features)
    network.fit_popularity(occurrences(train, len(manifest.classes)))


def occurrences(train: Split, classes: int) -> np.ndarray:
    """How often each item (K,) int64 is in the histories and labels of a split.

    Where a long history is cut into windows, the event between two of them counts twice.
    """
    return np.bincount(np.asarray(train.inputs).ravel(), minlength=classes + 1)[PADDING + 1 :] + np.bincount(
        train.labels, minlength=classes
    )
