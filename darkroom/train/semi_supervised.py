"""Learn from examples without labels too: confident predictions for them become labels.

`pseudo_label`: Lee, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks",
2013. `fixmatch`: Sohn et al., "FixMatch: simplifying semi-supervised learning with consistency and confidence", NeurIPS
2020: the prediction for a weak view is the label of a strong one. `freematch`: Wang et al., "FreeMatch: self-adaptive
thresholding for semi-supervised learning", ICLR 2023: thresholds by class that follow the training, and fairness.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import NOUNS, counted, plural
from darkroom.models import sequences
from darkroom.train import batch_norm
from darkroom.train.config import SemiSupervisedConfig, TrainConfig
from darkroom.train.objective import Objective, Supervised
from darkroom.train.thresholds import Fixed, SelfAdaptive, Tally
from darkroom.train.unlabelled import PartlyLabelled, Unlabelled

NONE = "none"
FAIRNESS = 0.01  # weight of FreeMatch's fairness, relative to the loss of the unlabelled examples
COLLAPSED = 0.5  # effective number of classes among the pseudo-labels, as a fraction of that among the labels
UNUSED = 0.01  # fraction of the unlabelled examples with a pseudo-label: below, they hardly matter
UNLABELLED_GO_TO = {  # by kind of example
    "image": "the folder unlabelled/ beside the classes",
    "text": "unlabelled.csv beside the labelled texts",
}
_FRACTION = "fraction_of_"  # column: of the pseudo-labels that are of a class


class SemiSupervised(Objective):
    """Supervised loss + weight x mean cross-entropy of the unlabelled examples, 0 where no prediction is confident.

    The predictions are made without a gradient, dropout and label smoothing. Batch norm normalises the weak views, and
    then the labelled inputs and strong views together, each by their own statistics. It keeps those of the weak views,
    which are like the inputs of evaluation. With the moving average as teacher it keeps those of the second pass.
    """

    def __init__(
        self, supervised: Supervised, settings: SemiSupervisedConfig, classes: Sequence[str], device: torch.device
    ):
        self.supervised, self.settings, self.classes = supervised, settings, classes
        # The labelled examples teach no confidence above this.
        limit = 1 - supervised.label_smoothing * (1 - 1 / len(classes))
        kind = SelfAdaptive if settings.method == "freematch" else Fixed
        self.thresholds = kind(settings.threshold * limit, len(classes), device)
        self.step, self.epoch = (Tally.zero(len(classes), device) for _ in range(2))
        self.weight, self.average = 0.0, None
        self.on_validation: dict[str, float | None] = {}

    def before_step(self, progress: float, average: nn.Module | None) -> None:
        """See `Objective.before_step`."""
        ramp = self.settings.ramp_up
        self.weight = self.settings.weight * (min(1.0, progress / ramp) if ramp else 1.0)
        self.average = average if self.settings.pseudo_labels_from == "ema" else None

    def loss(self, network: nn.Module, batch: PartlyLabelled) -> tuple[Tensor, Tensor]:
        """See `Objective.loss`."""
        weak, strong = batch.weak.flatten(0, 1), batch.strong.flatten(0, 1)
        probabilities = self._predict(network, weak)
        confidence, labels = probabilities.max(1)
        used = (confidence >= self.thresholds.by_class[labels]).float()
        self._count(probabilities, labels, used)
        both = sequences.joined([batch.inputs, strong])
        if self.average is None:
            with batch_norm.without_statistics(network):
                logits = network(both)
        else:
            logits = network(both)
        labelled, unlabelled = logits.float().tensor_split([len(batch.inputs)])
        loss, correct = self.supervised.compare(labelled, batch.targets)
        loss_of_unlabelled = (used * cross_entropy(unlabelled, labels, reduction="none")).mean()
        if isinstance(self.thresholds, SelfAdaptive):
            views = unlabelled[used.bool()].softmax(1)
            found = fairness(views, self.thresholds.probabilities, self.thresholds.predicted)
            loss_of_unlabelled = loss_of_unlabelled + FAIRNESS * found
        return loss + self.weight * loss_of_unlabelled, correct

    def _predict(self, network: nn.Module, weak: Tensor) -> Tensor:
        """Probabilities (N R, K) float32 of the classes."""
        teacher = network if self.average is None else self.average
        with torch.no_grad(), batch_norm.predicting(teacher, with_batch=self.average is None):
            return teacher(weak).float().softmax(1)

    def _count(self, probabilities: Tensor, labels: Tensor, used: Tensor) -> None:
        classes = len(self.classes)
        found = Tally(
            probabilities.sum(0),
            torch.bincount(labels, minlength=classes).float(),
            torch.bincount(labels[used.bool()], minlength=classes).float(),
            probabilities.amax(1).sum(),
        )
        for total, one in zip(self.step, found, strict=True):
            total += one

    def sums(self) -> list[Tensor]:
        """See `Objective.sums`."""
        return list(self.step)

    def after_step(self) -> None:
        """See `Objective.after_step`."""
        self.thresholds.update(self.step)
        for total, one in zip(self.epoch, self.step, strict=True):
            total += one
            one.zero_()

    def observe(self, logits: Tensor, labels: Tensor) -> None:
        """See `Objective.observe`: the labels of the unlabelled examples are not known, those of the others are."""
        confidence, predicted = logits.softmax(1).max(1)
        used = confidence >= self.thresholds.by_class.to(logits.device)[predicted]
        correct = (predicted == labels)[used]
        self.on_validation = {
            "used_of_validation": used.float().mean().item(),
            "accuracy_of_used_validation": correct.float().mean().item() if len(correct) else None,
        }

    def measured(self) -> dict[str, float | None]:
        """See `Objective.measured`."""
        used, predicted = self.epoch.used.sum().item(), self.epoch.predicted.sum().item()
        found = {"used": used / predicted, "threshold": self.thresholds.by_class.mean().item()}
        fractions = {
            _FRACTION + name: number / max(1.0, used)
            for name, number in zip(self.classes, self.epoch.used.tolist(), strict=True)
        }
        for total in self.epoch:
            total.zero_()
        return found | self.on_validation | fractions

    def state(self) -> dict[str, Tensor]:
        """See `Objective.state`."""
        return {f"epoch/{name}": total for name, total in self.epoch._asdict().items()} | self.thresholds.state()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Objective.restore`."""
        for name, total in self.epoch._asdict().items():
            total.copy_(tensors[f"epoch/{name}"])
        self.thresholds.restore(tensors)


def fairness(probabilities: Tensor, expected: Tensor, predicted: Tensor) -> Tensor:
    """FreeMatch's self-adaptive fairness, equation 11: small if the classes of strong views are as diverse as expected.

    `probabilities` (n, K) are those of the strong views with a pseudo-label. `expected` and `predicted` (K,) are the
    running means of the probabilities and of the predictions for weak views. Each mean is divided by the frequency of
    its class.
    """
    if not len(probabilities):
        return probabilities.sum()
    found = torch.bincount(probabilities.argmax(1), minlength=len(expected)) / len(probabilities)
    wanted = _relative(expected, predicted)
    return (wanted * (_relative(probabilities.mean(0), found) + 1e-12).log()).sum()


def _relative(mean: Tensor, frequency: Tensor) -> Tensor:
    """The means (K,) divided by the frequencies (K,), 0 where these are 0, so that they sum to 1."""
    ratio = torch.where(frequency > 0, mean / frequency.clamp(min=1e-12), 0.0)
    return ratio / ratio.sum()


def batches(
    split: Split | None, settings: TrainConfig, manifest: Manifest, seed: int, device: torch.device, local_count: int
) -> Unlabelled | None:
    """The batches of the unlabelled examples `split`; None if there are none."""
    if split is None:
        return None
    chosen = settings.semi_supervised
    has_strong_view = chosen.method != "pseudo_label"
    sizes = chosen.unlabelled_ratio, has_strong_view, seed, device, local_count
    return Unlabelled(split, manifest, settings.augment, *sizes)


def require(split: Split | None, settings: SemiSupervisedConfig, manifest: Manifest) -> None:
    """Raise DarkroomError unless there are unlabelled examples of a kind that has views."""
    given = f"train.semi_supervised.method = {settings.method!r}"
    if manifest.kind not in UNLABELLED_GO_TO:
        what = plural(NOUNS[manifest.kind])
        raise DarkroomError(f"{given} needs images or texts, and {manifest.title} has {what}: set it to none.")
    if not split:
        raise DarkroomError(
            f"{given}: data/arrays has no unlabelled examples. Put them into {UNLABELLED_GO_TO[manifest.kind]}, or "
            "hide labels with preprocess.labels_per_class; or set it to none."
        )


def notices(settings: SemiSupervisedConfig, unlabelled: Unlabelled | None, manifest: Manifest) -> Iterator[str]:
    """How unlabelled examples are used, or that they could be: a line for people."""
    if unlabelled:
        yield (
            f"{settings.method}: {counted(len(unlabelled), 'unlabelled example')}, {unlabelled.ratio} beside each "
            "labelled one; an epoch shows all of both"
        )
    elif (count := manifest.counts.get(arrays.UNLABELLED)) and manifest.kind in UNLABELLED_GO_TO:
        yield (
            f"hint: {counted(count, 'example')} without a label {'is' if count == 1 else 'are'} not used; "
            "train.semi_supervised.method = freematch learns from them too"
        )


def warnings(measured: Mapping[str, float | None], labels: np.ndarray) -> list[str]:
    """At most one warning with advice, if few examples get a pseudo-label or these collapse onto few classes.

    `measured` is that of a record; `labels` (N,) int64 are those of the training split.
    """
    if not measured:
        return []
    if measured["used"] < UNUSED:
        return [
            f"Only {measured['used']:.1%} of the unlabelled examples have a pseudo-label: lower "
            "train.semi_supervised.threshold, use freematch, or train longer."
        ]
    fractions = [value for name, value in measured.items() if name.startswith(_FRACTION)]
    found, expected = _effective(fractions), _effective(np.bincount(labels) / len(labels))
    if found >= COLLAPSED * expected:
        return []
    return [
        f"Pseudo-labels collapse onto few classes, {found:.1f} in effect, while the labels have {expected:.1f}: raise "
        "train.semi_supervised.threshold, lower its weight, or label more examples of the other classes."
    ]


def _effective(fractions: Iterable[float]) -> float:
    """The effective number of classes: the exponential of the entropy."""
    return math.exp(-sum(value * math.log(value) for value in fractions if value > 0))
