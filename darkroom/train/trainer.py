"""The training loop: one record per epoch, and a state that can be saved after any step."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import derive_seed, numpy_generator
from darkroom.models import hardware
from darkroom.models.inference import predict
from darkroom.train import flops
from darkroom.train.batches import Batches
from darkroom.train.config import TrainConfig
from darkroom.train.gradients import GradientMonitor, LayerGradients
from darkroom.train.objective import Batch, Objective
from darkroom.train.optimisers import Optimisers, schedule

DIVERGED = 50  # times the loss of guessing: a training does not recover from a larger loss
MAX_SAMPLE = 5000  # training examples that are measured after each epoch; at most as many as in validation
CHECK_EVERY = 50  # steps between two checks of the loss and the gradients; each check makes a GPU wait


@dataclass(frozen=True)
class Record:
    """The measurements of one epoch.

    Training and validation loss compare like with like: both are those of the weights at the end of the epoch, in
    evaluation mode, without augmentation and label smoothing. Those of the batches include all three.
    """

    epoch: int  # counted from 1
    lr: float  # of the last step
    train_loss: float  # of a sample of the training split
    train_accuracy: float
    batch_loss: float  # mean over the epoch, of augmented batches with label smoothing
    batch_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float  # of training, without these measurements
    layers: Mapping[str, LayerGradients]

    def curves(self) -> dict[str, float]:
        """The numbers to plot, by column name."""
        return {name: value for name, value in vars(self).items() if name not in ("seconds", "layers")}

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch:3}: training loss {self.train_loss:.4f}, accuracy {self.train_accuracy:.2%}; "
            f"validation loss {self.val_loss:.4f}, accuracy {self.val_accuracy:.2%}; {self.seconds:.1f} s"
        )


class Trainer:
    """Trains `network` by the recipe `settings`; iterate over `epochs()` to run it."""

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
        precision: str,
        fit_stem: bool = True,  # compute the filters of a whitening stem from the data; False keeps loaded ones
    ):
        self.batches = Batches(train, manifest, settings.augment, settings.batch_size, seed, device)
        self.network = network.to(device, memory_format=torch.channels_last)
        self.whole, self.data = self.network, manifest  # the network and its data, of which this may train only a part
        self.objective, self.settings, self.manifest, self.val = objective, settings, manifest, val
        self.seed, self.device, self.precision = seed, device, precision
        self.dtype = hardware.PRECISIONS[precision]
        if fit_stem and hasattr(network, "fit_stem"):
            network.fit_stem(self.batches.sample(2000, 2000 * 32 * 32))
        self.optimisers = Optimisers(network, settings)
        self.rate = schedule(settings, self.batches.steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        decay = settings.ema_decay
        self.average = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
        )
        self.monitor = GradientMonitor(network)
        chosen = numpy_generator(seed, "training sample").permutation(len(train))
        self.sample = np.sort(chosen[: min(len(val), MAX_SAMPLE)])  # (n,) int64: examples to measure
        self.records: list[Record] = []  # of all completed epochs
        self.best: dict[str, Tensor] = {}  # the weights to keep, as of the completed epochs
        self._begin_epoch()

    def epochs(self, save: Callable[[], None] = lambda: None) -> Iterator[Record]:
        """Run the training, one record per epoch; then the network holds the weights that `keep_weights` chooses.

        Calls `save` after each epoch and after every `checkpoint_steps` steps. After `restore`, records of completed
        epochs come first. A caller may stop iterating after any epoch: iterating again resumes the training there, with
        the same result. Raises DarkroomError, with advice, if the loss diverges or is not finite.
        """
        yield from list(self.records)
        while len(self.records) < math.ceil(self.settings.epochs) and not self._should_stop_early():
            self._train_epoch(save)
            save()
            yield self.records[-1]
        self.network.load_state_dict(self.best)

    def summary(self) -> dict[str, float]:
        """For metrics/train.json: the measurements of the epoch whose weights are kept, and the network's size."""
        best = self._best_record()
        kept = best if self.settings.keep_weights == "best" else self.records[-1]
        return {
            "epochs": len(self.records),
            "best_epoch": best.epoch,
            "val_accuracy": kept.val_accuracy,
            "val_loss": kept.val_loss,
            "train_accuracy": kept.train_accuracy,
            "train_loss": kept.train_loss,
            "parameters": sum(parameter.numel() for parameter in self.whole.parameters()),
            "trainable_parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "flops_per_image": flops.count(self.whole, self.data.shape)[0],  # of the forward pass
            "cpu_threads": torch.get_num_threads(),  # another number rounds differently, which acts like another seed
        }

    def costs(self) -> dict[str, float]:
        """Seconds of training, images per second, and MFU: FLOPs as a fraction of a large matrix product's."""
        seconds = sum(record.seconds for record in self.records)
        speed = min(len(self.records), self.settings.epochs) * len(self.batches.labels) / seconds
        _, training_flops = flops.count(self.network, self.manifest.shape)
        peak = flops.matrix_peak(self.device, self.dtype)
        return {
            "training_seconds": round(seconds, 2),
            "images_per_second": round(speed, 1),
            "mfu": round(training_flops * speed / peak, 3),  # model FLOPs utilisation
        }

    def steps(self) -> int:
        """The number of steps of the whole training, unless it stops early."""
        return sum(self._last_step(epoch) for epoch in range(math.ceil(self.settings.epochs)))

    def hardware(self) -> str:
        """Device, precision and the reason for this precision, for people."""
        precision = hardware.explain_precision(self.settings.precision, self.precision, self.device)
        return f"{hardware.describe(self.device)}, {precision}"

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All state that the rest of the training depends on: tensors, and values for JSON."""
        tensors = {f"network/{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        if self.average:
            tensors |= {f"average/{name}": tensor for name, tensor in self.average.state_dict().items()}
        for number, member in enumerate(self.optimisers.members):
            for index, entries in member.state_dict()["state"].items():
                tensors |= {f"optimiser/{number}/{index}/{name}": tensor for name, tensor in entries.items()}
        tensors |= {"losses": self.losses, "correct": self.correct, "gradients": self.monitor.sums}
        values = {
            "records": [asdict(record) for record in self.records],
            "step": self.step,
            "seconds": self.seconds,
            "scaler": self.scaler.state_dict(),
        }
        return tensors, values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Restore what `state` returned for a trainer that was built in the same way.

        Raises KeyError, TypeError, ValueError or RuntimeError if it does not fit.
        """

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

        self.network.load_state_dict(part("network/"))
        self.best = {name: tensor.to(self.device) for name, tensor in part("best/").items()}
        if self.average:
            self.average.load_state_dict(part("average/"))
        for number, member in enumerate(self.optimisers.members):
            entries: dict[int, dict[str, Tensor]] = {}
            for path, tensor in part(f"optimiser/{number}/").items():
                index, name = path.split("/")
                entries.setdefault(int(index), {})[name] = tensor
            member.load_state_dict({"state": entries, "param_groups": member.state_dict()["param_groups"]})
        self.losses, self.correct = tensors["losses"].to(self.device), tensors["correct"].to(self.device)
        self.monitor.sums = tensors["gradients"]
        self.records = [_record(fields) for fields in values["records"]]
        self.step, self.seconds = values["step"], values["seconds"]
        self.scaler.load_state_dict(values["scaler"])

    def _begin_epoch(self) -> None:
        self.step, self.seconds = 0, 0.0  # completed in this epoch
        self.losses = torch.zeros(self.batches.steps, device=self.device)
        self.correct = torch.zeros((), dtype=torch.long, device=self.device)
        self.monitor.reset()

    def _train_epoch(self, save: Callable[[], None]) -> None:
        """Train for the rest of the current epoch, validate, and add its record."""
        self.network.train()
        epoch = len(self.records)
        first, last = self.step, self._last_step(epoch)
        before, started = self.seconds, time.perf_counter()
        batches = self.batches.epoch(epoch, first, last)
        title = f"epoch {epoch + 1}/{self.settings.epochs:g}"
        for batch in tqdm(batches, title, last, initial=first, unit="step", leave=False, disable=None):
            lr = self.rate(epoch * self.batches.steps + self.step)
            self._learn(batch, lr, epoch)
            self.step += 1
            if self.step % CHECK_EVERY == 0 or self.step == last:
                self._stop_if_diverged(epoch)  # waits for a GPU to finish
            self.seconds = before + time.perf_counter() - started
            if self.settings.checkpoint_steps and self.step % self.settings.checkpoint_steps == 0 and self.step < last:
                save()
                before, started = self.seconds, time.perf_counter()
        self._end_epoch(epoch, lr, last)

    def _last_step(self, epoch: int) -> int:
        """The number of steps of an epoch: the last one may be partial, but has at least one step."""
        remaining = round(self.settings.epochs * self.batches.steps) - epoch * self.batches.steps
        return max(1, min(self.batches.steps, remaining))

    def _learn(self, batch: Batch, lr: float, epoch: int) -> None:
        """Take one optimiser step on a batch."""
        torch.manual_seed(derive_seed(self.seed, "dropout", epoch * self.batches.steps + self.step))
        for part in batch.split(min(self.settings.grad_accumulation, len(batch.inputs))):
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                loss, correct = self.objective.loss(self.network, part)
                loss = loss * (len(part.inputs) / len(batch.inputs))
            self.scaler.scale(loss).backward()
            self.losses[self.step] += loss.detach()
            self.correct += correct
        for member in self.optimisers.members:
            self.scaler.unscale_(member)
        is_measured = self.step % CHECK_EVERY == 0
        with self.monitor.measure_step() if is_measured else nullcontext():
            if self.settings.grad_clip_norm:
                nn.utils.clip_grad_norm_(self.optimisers.parameters, self.settings.grad_clip_norm)
            self.optimisers.step(lr, self.scaler)
        if self.average:
            self.average.update_parameters(self.network)

    def _end_epoch(self, epoch: int, lr: float, steps: int) -> None:
        """Validate, add the epoch's record, and update the weights to keep."""
        network = self.average.module if self.average else self.network
        seen = sum(len(batch) for batch in torch.tensor_split(self.batches.labels, self.batches.steps)[:steps])
        measured = (
            *self._measure(network, self.batches.blocks(self.sample), self.batches.train.labels[self.sample]),
            *(self.losses[:steps].mean().item(), self.correct.item() / seen),
            *self._measure(network, [self.val.inputs], self.val.labels),
        )
        self.records.append(Record(epoch + 1, lr, *measured, self.seconds, self.monitor.layers()))
        if self.settings.keep_weights == "last" or self._best_record() is self.records[-1]:
            self.best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        self._begin_epoch()

    def _measure(self, network: nn.Module, blocks: Iterable[np.ndarray], labels: np.ndarray) -> tuple[float, float]:
        """Loss and accuracy of `network` in evaluation mode; `blocks` (n, ..., C) uint8 are inputs to `labels` (N,)."""
        mean, std = self.manifest.mean, self.manifest.std
        logits = torch.cat([torch.from_numpy(predict(network, block, mean, std, self.dtype)) for block in blocks])
        targets = torch.from_numpy(np.array(labels))
        return cross_entropy(logits, targets).item(), (logits.argmax(1) == targets).double().mean().item()

    def _best_record(self) -> Record:
        """The record with the highest validation accuracy; of equals that with the lowest loss, then the first."""
        return max(self.records, key=lambda record: (record.val_accuracy, -record.val_loss))

    def _should_stop_early(self) -> bool:
        patience = self.settings.early_stopping
        return bool(patience and self.records) and len(self.records) - self._best_record().epoch >= patience

    def _stop_if_diverged(self, epoch: int) -> None:
        limit = DIVERGED * math.log(len(self.manifest.classes))
        diverged = (~(self.losses[: self.step] < limit)).nonzero()  # also NaN
        if len(diverged):
            number = int(diverged[0])
            lr = self.rate(epoch * self.batches.steps + number)
            raise DarkroomError(
                f"The training diverged: loss {self.losses[number]:.3g} in epoch {epoch + 1}, step {number + 1} of "
                f"{self.batches.steps}, learning rate {lr:.3g}. Lower train.lr, raise train.warmup_fraction, or set "
                "train.grad_clip_norm = 1."
            )


def _record(fields: Mapping[str, Any]) -> Record:
    """A record from its JSON."""
    layers = {name: LayerGradients(*measured) for name, measured in fields["layers"].items()}
    return Record(**{**fields, "layers": layers})
