"""The training loop: whole batches, one record an epoch, a state that can be saved after any step."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
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
from darkroom.core.randomness import derive_seed
from darkroom.models import hardware
from darkroom.models.inference import predict
from darkroom.train import flops, gradients
from darkroom.train.batches import Batches
from darkroom.train.config import TrainConfig
from darkroom.train.objective import Batch, Objective
from darkroom.train.optimisers import Optimisers, schedule

DIVERGED = 50  # a loss so many times that of guessing will not come back
CHECK_EVERY = 50  # steps between two looks at the loss and the gradients: each look makes a GPU wait


@dataclass(frozen=True)
class Record:
    """One epoch in numbers; the training's loss and accuracy are those of the epoch's own varied batches."""

    epoch: int  # counted from 1
    lr: float  # of the epoch's last step
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float  # of the training alone, without the validation
    layers: Mapping[str, gradients.Layer]

    def curves(self) -> dict[str, float]:
        """The numbers to plot against the epochs, by column name."""
        names = ("epoch", "lr", "train_loss", "val_loss", "train_accuracy", "val_accuracy")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch:3}: loss {self.train_loss:.4f}, accuracy {self.train_accuracy:.2%}; "
            f"validation loss {self.val_loss:.4f}, accuracy {self.val_accuracy:.2%}; {self.seconds:.1f} s"
        )


class Trainer:
    """A training of `network` by the recipe `settings`; iterate over `epochs()` to run it.

    Afterwards the network holds the chosen weights, best or last, and `records` all epochs.
    """

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
        fit_stem: bool = True,  # compute the whitening stem from the data: not if the weights were given
    ):
        self.batches = Batches(train, manifest, settings.augment, settings.batch_size, seed, device)
        self.network = network.to(device, memory_format=torch.channels_last)
        self.settings, self.manifest, self.seed, self.device, self.val = settings, manifest, seed, device, val
        self.dtype = hardware.PRECISIONS[precision]
        self.objective, self.precision = objective, precision
        if fit_stem and hasattr(network, "fit_stem"):
            network.fit_stem(self.batches.sample(2000))
        self.optimisers = Optimisers(network, settings)
        self.rate = schedule(settings, self.batches.steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        decay = settings.ema_decay
        self.average = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
        )
        self.watch = gradients.Watch(network)
        self.records: list[Record] = []
        self.best: dict[str, Tensor] = {}  # the weights to end with, as far as known
        self._begin_epoch()

    def epochs(self, save: Callable[[], None] = lambda: None) -> Iterator[Record]:
        """Runs the training, one record an epoch; ends early where the validation accuracy has stopped to rise.

        `save` is called whenever the state is worth saving: after each epoch, and after every `checkpoint_steps` steps.
        Epochs of before a restored state are recorded, not run. Raises DarkroomError, with advice, where the loss is not
        finite or has run away.
        """
        yield from list(self.records)
        while len(self.records) < math.ceil(self.settings.epochs) and not self._waited_enough():
            self._train_epoch(save)
            save()
            yield self.records[-1]
        self.network.load_state_dict(self.best)

    def summary(self) -> dict[str, float]:
        """What came out, for metrics/train.json: the numbers of the epoch whose weights the network holds, and its size."""
        best = self._best_record()
        chosen = best if self.settings.keep_weights == "best" else self.records[-1]
        return {
            "epochs": len(self.records),
            "best_epoch": best.epoch,
            "val_accuracy": chosen.val_accuracy,
            "val_loss": chosen.val_loss,
            "train_accuracy": chosen.train_accuracy,
            "train_loss": chosen.train_loss,
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "operations_per_image": flops.operations(self.network, self.manifest.shape)[0],  # of the forward pass
        }

    def costs(self) -> dict[str, float]:
        """What it took: seconds of training alone, pictures seen in each of them, and the share of the machine's matrix peak."""
        seconds = sum(record.seconds for record in self.records)
        speed = min(len(self.records), self.settings.epochs) * len(self.batches.labels) / seconds
        _, operations = flops.operations(self.network, self.manifest.shape)
        peak = flops.matrix_peak(self.device, self.dtype)
        return {
            "training_seconds": round(seconds, 2),
            "images_per_second": round(speed, 1),
            "share_of_matrix_peak": round(operations * speed / peak, 3),
        }

    def hardware(self) -> str:
        """Device and precision, and why this precision, for people."""
        return f"{hardware.describe(self.device)}, {hardware.explain_precision(self.settings.precision, self.precision, self.device)}"

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the rest of the training depends on but what it was made with: tensors, and values for JSON."""
        tensors = {f"network/{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        if self.average:
            tensors |= {f"average/{name}": tensor for name, tensor in self.average.state_dict().items()}
        for number, member in enumerate(self.optimisers.members):
            for index, entries in member.state_dict()["state"].items():
                tensors |= {f"optimiser/{number}/{index}/{name}": tensor for name, tensor in entries.items()}
        tensors |= {"losses": self.losses, "correct": self.correct, "gradients": self.watch.sums}
        values = {
            "records": [asdict(record) for record in self.records],
            "step": self.step,
            "seconds": self.seconds,
            "scaler": self.scaler.state_dict(),
        }
        return tensors, values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Sets this training, made as the other was, to what `state` returned; raises ValueError or the like where it does not fit."""

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
        self.losses, self.correct, self.watch.sums = (
            tensors["losses"].to(self.device),
            tensors["correct"].to(self.device),
            tensors["gradients"],
        )
        layers = [
            {name: gradients.Layer(*layer) for name, layer in record["layers"].items()} for record in values["records"]
        ]
        self.records = [
            Record(**{**record, "layers": measured}) for record, measured in zip(values["records"], layers, strict=True)
        ]
        self.step, self.seconds = values["step"], values["seconds"]
        self.scaler.load_state_dict(values["scaler"])

    def _begin_epoch(self) -> None:
        self.step, self.seconds = 0, 0.0  # what is done of the epoch
        self.losses = torch.zeros(self.batches.steps, device=self.device)
        self.correct = torch.zeros((), dtype=torch.long, device=self.device)
        self.watch.reset()

    def _train_epoch(self, save: Callable[[], None]) -> None:
        """Trains for the rest of the present epoch, validates, and adds its record."""
        self.network.train()
        epoch = len(self.records)
        first, last = (
            self.step,
            max(
                1,
                min(self.batches.steps, round(self.settings.epochs * self.batches.steps) - epoch * self.batches.steps),
            ),
        )
        before, started = self.seconds, time.perf_counter()
        title = f"epoch {epoch + 1}/{self.settings.epochs:g}"
        for batch in tqdm(
            self.batches.epoch(epoch, first, last), title, last, initial=first, unit="step", leave=False, disable=None
        ):
            lr = self.rate(epoch * self.batches.steps + self.step)
            self._learn(batch, lr, epoch)
            self.step += 1
            if self.step % CHECK_EVERY == 0 or self.step == last:
                self._refuse_divergence(epoch)  # which waits for a GPU to be done
            self.seconds = before + time.perf_counter() - started
            if self.settings.checkpoint_steps and self.step % self.settings.checkpoint_steps == 0 and self.step < last:
                save()
                before, started = self.seconds, time.perf_counter()
        self._end_epoch(epoch, lr, last)

    def _learn(self, batch: Batch, lr: float, epoch: int) -> None:
        """Takes one optimiser step on a batch."""
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
        looked_at = self.step % CHECK_EVERY == 0
        with self.watch.step() if looked_at else nullcontext():
            if self.settings.grad_clip_norm:
                nn.utils.clip_grad_norm_(self.optimisers.parameters, self.settings.grad_clip_norm)
            self.optimisers.step(lr, self.scaler)
        if self.average:
            self.average.update_parameters(self.network)

    def _end_epoch(self, epoch: int, lr: float, steps: int) -> None:
        """Validates, keeps the weights that may be the ones to end with, and adds the epoch's record."""
        network = self.average.module if self.average else self.network
        logits = torch.from_numpy(predict(network, self.val.inputs, self.manifest.mean, self.manifest.std, self.dtype))
        labels = torch.from_numpy(np.array(self.val.labels))
        val_loss, val_accuracy = (
            cross_entropy(logits, labels).item(),
            (logits.argmax(1) == labels).double().mean().item(),
        )
        if self.settings.keep_weights == "last" or not self.records or val_accuracy > self._best_record().val_accuracy:
            self.best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        seen = sum(len(batch) for batch in torch.tensor_split(self.batches.labels, self.batches.steps)[:steps])
        loss, accuracy = self.losses[:steps].mean().item(), self.correct.item() / seen
        self.records.append(
            Record(epoch + 1, lr, loss, accuracy, val_loss, val_accuracy, self.seconds, self.watch.layers())
        )
        self._begin_epoch()

    def _best_record(self) -> Record:
        return max(self.records, key=lambda record: record.val_accuracy)  # the first of equals

    def _waited_enough(self) -> bool:
        patience = self.settings.early_stopping
        return bool(patience and self.records) and len(self.records) - self._best_record().epoch >= patience

    def _refuse_divergence(self, epoch: int) -> None:
        limit = DIVERGED * math.log(len(self.manifest.classes))
        lost = (~(self.losses[: self.step] < limit)).nonzero()
        if len(lost):
            number = int(lost[0])
            lr = self.rate(epoch * self.batches.steps + number)
            raise DarkroomError(
                f"The training diverged: the loss was {self.losses[number]:.3g} in epoch {epoch + 1}, step {number + 1} of {self.batches.steps}, "
                f"at a learning rate of {lr:.3g}. Lower train.lr, lengthen train.warmup_fraction, or set train.grad_clip_norm = 1."
            )
