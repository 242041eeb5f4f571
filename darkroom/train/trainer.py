"""The training loop: one record per epoch, and a state that can be saved after any step."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn
from tqdm import tqdm

from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import derive_seed, numpy_generator
from darkroom.core.stage import peak_memory_mb
from darkroom.models import hardware
from darkroom.models.inference import batch_size, predict
from darkroom.train import batch_norm, flops, measuring, mixed_precision, records, sharding, state, tuning
from darkroom.train.batches import Batches
from darkroom.train.config import TrainConfig
from darkroom.train.cuda_graphs import Captured
from darkroom.train.gradients import GradientMonitor
from darkroom.train.objective import Batch, Objective
from darkroom.train.optimisers import Optimisers, schedule
from darkroom.train.processes import ALONE, Processes
from darkroom.train.records import Record
from darkroom.train.unlabelled import Unlabelled

DIVERGED = 50  # times the loss of guessing: a training does not recover from a larger loss
MAX_SAMPLE = 5000  # training examples that are measured after each epoch; at most as many as in validation
BLOCK = 500  # examples that are measured at once, if they are small
CHECK_EVERY = 50  # steps between two checks of the loss and the gradients; each check makes a GPU wait


class Trainer:
    """Trains `network` by the recipe `settings`; iterate over `epochs()` to run it.

    With several `processes`, each has a trainer, built and called alike, which trains on its part of every batch.
    """

    remarks: tuple[str, ...] = ()  # on what the training starts from, for people
    after_step: Callable[["Trainer"], None] = staticmethod(lambda trainer: None)  # for a caller that watches it

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
        processes: Processes = ALONE,
        unlabelled: Unlabelled | None = None,
    ):
        self.processes, local_count = processes, processes.local_count
        sizes = settings.batch_size, seed, device, local_count
        self.batches = Batches(train, manifest, settings.augment, *sizes, unlabelled)
        self._require_divisible_batches()
        network = network.to(device, memory_format=torch.channels_last)
        self.objective, self.settings, self.manifest, self.val = objective, settings, manifest, val
        self.seed, self.device, self.precision = seed, device, precision
        self.dtype = hardware.PRECISIONS[precision]
        if fit_stem and hasattr(network, "fit_stem"):
            network.fit_stem(self.batches.sample(2000, 2000 * 32 * 32))
        if hasattr(network, "fit_inputs"):
            network.fit_inputs(train.inputs)
        self.tuning = tuning.build(network, settings, manifest.shape, self.steps(), self.batches.steps, seed)
        whole, network = network, self.tuning.network  # the network to train may be a copy with adapters
        processes.share(network.state_dict().values())  # another machine may have rounded differently
        self.network = network
        decay, self.average = settings.ema_decay, None
        self.is_sharded = settings.parallel == "sharded" and processes.count > 1
        if decay and self.is_sharded:  # sharded and other tensors cannot be updated together
            self.average = AveragedModel(network, avg_fn=get_ema_avg_fn(decay), use_buffers=True)
        elif decay:
            self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        # The network as an ordinary one, and its data; this may train only a part of both. A sharded network has only
        # its structure there, without weights, until it has been trained.
        self.whole, self.data = copy.deepcopy(whole).to("meta") if self.is_sharded else whole, manifest
        self.ordinary = copy.deepcopy(network).to("meta") if self.is_sharded else network  # what this trains, unsharded
        if self.is_sharded:
            self._shard()
        self.optimisers = Optimisers(network, settings, self.dtype)
        self.rate = schedule(settings, self.batches.steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.captured = Captured() if self._is_capturable() else None
        self.monitor = GradientMonitor(network)
        chosen = numpy_generator(seed, "training sample").permutation(len(train))
        self.sample = np.sort(chosen[: min(len(val), MAX_SAMPLE)])  # (n,) int64: examples to measure
        self.records: list[Record] = []  # of all completed epochs
        self.best: dict[str, Tensor] = {}  # the weights to keep, as of the completed epochs
        self.files: dict[str, bytes] = {}  # what to keep beside them, once the training is complete
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
        weights = {name: sharding.whole(tensor) for name, tensor in self.best.items()}
        self.files = self.tuning.files(weights)
        if not self.is_sharded:
            self.tuning.ordinary.load_state_dict(self.tuning.merged(weights))
        elif self.processes.is_first:
            self.whole.to_empty(device="cpu").load_state_dict(self.tuning.merged(weights))

    def summary(self) -> dict[str, float]:
        """For metrics/train.json: the measurements of the epoch whose weights are kept, and the network's size."""
        best = self._best()
        kept = best if self.settings.keep_weights == "best" else self.records[-1]
        return {
            "epochs": len(self.records),
            "best_epoch": best.epoch,
            "val_accuracy": kept.val_accuracy,
            "val_loss": kept.val_loss,
            "train_accuracy": kept.train_accuracy,
            "train_loss": kept.train_loss,
            "parameters": sum(parameter.numel() for parameter in self.whole.parameters()),
            "trainable_parameters": sum(parameter.numel() for parameter in self.optimisers.parameters),
            "optimizer_bytes": self.optimisers.bytes(),
            "flops_per_image": flops.count(self.whole, self.data.shape)[0],  # of the forward pass
            "cpu_threads": torch.get_num_threads(),  # another number rounds differently, which acts like another seed
            "processes": self.processes.count,  # so does another number of these; each has these threads
        }

    def costs(self) -> dict[str, float]:
        """Seconds of training, images per second, and MFU: FLOPs as a fraction of a large matrix product's."""
        seconds = sum(record.seconds for record in self.records)
        speed = min(len(self.records), self.settings.epochs) * self.batches.learned / seconds
        _, training_flops = flops.count(self.ordinary, self.batches.mean_shape)
        peak = flops.matrix_peak(self.device, self.dtype) * self.processes.count
        costs = {
            "training_seconds": round(seconds, 2),
            "images_per_second": round(speed, 1),
            "mfu": round(training_flops * speed / peak, 3),  # model FLOPs utilisation
        }
        if self.processes.count > 1:  # of all of them, not of the one that started them
            costs["peak_memory_mb"] = round(self.processes.total(peak_memory_mb()), 1)
        return costs

    def steps(self) -> int:
        """The number of steps of the whole training, unless it stops early."""
        return sum(self._last_step(epoch) for epoch in range(math.ceil(self.settings.epochs)))

    def hardware(self) -> str:
        """Device, precision and the reason for this precision, for people."""
        precision = hardware.explain_precision(self.settings.precision, self.precision, self.device)
        return f"{hardware.describe(self.device)}, {precision}"

    def state(self) -> state.State:
        """All state that the rest of the training depends on: tensors, and values for JSON.

        It does not depend on the number of processes; all of them must call this.
        """
        return state.collect(self)

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Restore what `state` returned for a trainer that was built in the same way, for any number of processes.

        Raises KeyError, TypeError, ValueError or RuntimeError if it does not fit.
        """
        state.restore(self, tensors, values)

    def _require_divisible_batches(self) -> None:
        """Raise DarkroomError unless every process gets a part of every batch."""
        smallest, count = self.batches.examples // self.batches.steps, self.processes.count
        if smallest < count:
            raise DarkroomError(
                f"train.processes = {count}: must be at most {smallest}, the number of examples in the smallest batch; "
                "lower it, or raise train.batch_size."
            )

    def _shard(self) -> None:
        """Let each process hold a part of the network and of its moving average."""
        if self.precision == "fp16":
            raise DarkroomError("train.parallel = 'sharded' does not support fp16: set train.precision = bf16 or fp32.")
        sharding.shard(self.network)
        if self.average:
            sharding.shard(self.average.module)

    def _begin_epoch(self) -> None:
        self.step, self.seconds = 0, 0.0  # completed in this epoch
        self.losses = torch.zeros(self.batches.steps, device=self.device)
        self.correct = torch.zeros((), dtype=torch.long, device=self.device)
        self.monitor.reset()

    def _train_epoch(self, save: Callable[[], None]) -> None:
        """Train for the rest of the current epoch, validate, and add its record."""
        self.tuning.train()
        epoch = len(self.records)
        first, last = self.step, self._last_step(epoch)
        before, started = self.seconds, time.perf_counter()
        batches = self.batches.epoch(epoch, first, last, (self.processes.rank, self.processes.count))
        title = f"epoch {epoch + 1}/{self.settings.epochs:g}"
        for batch in tqdm(batches, title, last, initial=first, unit="step", leave=False, disable=None):
            lr = self.rate(epoch * self.batches.steps + self.step)
            self._learn(batch, lr, epoch)
            self.step += 1
            self.after_step(self)
            every = self.settings.checkpoint_steps
            is_saved = every and self.step % every == 0 and self.step < last
            if self.step % CHECK_EVERY == 0 or self.step == last or is_saved:
                self._stop_if_diverged(epoch)  # waits for a GPU to finish
            self.seconds = before + time.perf_counter() - started
            if is_saved:
                save()
                before, started = self.seconds, time.perf_counter()
        self._end_epoch(epoch, lr, last)

    def _last_step(self, epoch: int) -> int:
        """The number of steps of an epoch: the last one may be partial, but has at least one step."""
        remaining = round(self.settings.epochs * self.batches.steps) - epoch * self.batches.steps
        return max(1, min(self.batches.steps, remaining))

    def _learn(self, batch: Batch, lr: float, epoch: int) -> None:
        """Take one optimiser step on a batch, of which `batch` is this process's part."""
        size, count, step = self._batch_size(self.step), self.processes.count, epoch * self.batches.steps + self.step
        self.tuning.before_step(step)
        progress = step / (self.settings.epochs * self.batches.steps)
        self.objective.before_step(progress, self.average.module if self.average else None)
        number = min(math.ceil(self.settings.grad_accumulation / count), size // count)  # of parts in each process
        totals = torch.zeros(2, device=self.device)  # loss, correct predictions
        is_split = number * count > 1
        with batch_norm.in_parts(self.network, self.processes) if is_split else nullcontext(lambda: None) as end_part:
            for index, part in enumerate(batch.split(number), self.processes.rank * number):
                torch.manual_seed(derive_seed(self.seed, "dropout", step, *([index] if index else [])))
                totals += self._set_gradients(part) if self.captured else self._backward(part, size)
                end_part()
        gradients = [parameter.grad for parameter in self.optimisers.parameters if parameter.grad is not None]
        # Sharded gradients are summed by the backward pass.
        unsharded = (gradient for gradient in gradients if not sharding.is_sharded(gradient))
        self.processes.sum([*unsharded, totals, *self.objective.sums()])
        self.objective.after_step()
        self.losses[self.step] = totals[0]
        self.correct += totals[1].long()
        for member in self.optimisers.members:
            self.scaler.unscale_(member)
        self.tuning.after_backward()
        is_measured = self.step % CHECK_EVERY == 0
        with self.monitor.measure_step() if is_measured else nullcontext():
            if self.settings.grad_clip_norm:
                nn.utils.clip_grad_norm_(self.optimisers.parameters, self.settings.grad_clip_norm)
            is_stepped = self.optimisers.step(lr, self.scaler)
        if is_stepped:
            self.tuning.after_step(step)
        self.optimisers.clear_gradients()
        if self.average:
            self.average.update_parameters(self.network)

    def _backward(self, part: Batch, size: int) -> Tensor:
        """Add the gradients of a part of a batch of `size`; return its share of the loss, and correct answers: (2,)."""
        with mixed_precision.autocast(self.device, self.dtype):
            loss, correct = self._loss(part)
            loss = loss * (len(part.inputs) / size)
        self.scaler.scale(loss).backward()
        return torch.stack([loss.detach().float(), correct.float()])

    def _set_gradients(self, batch: Batch) -> Tensor:
        """Set all gradients to those of a whole batch, by a CUDA graph if possible; return what `_backward` returns."""
        totals, *gradients = self.captured(self._gradients, *batch, key=self.tuning.is_frozen)
        for parameter, gradient in zip(self.optimisers.parameters, gradients, strict=True):
            parameter.grad = gradient
        return totals

    def _gradients(self, inputs: Tensor, targets: Tensor) -> list[Tensor | None]:
        """What `_backward` returns for a whole batch, and the gradient of each parameter, if it has one."""
        self.optimisers.clear_gradients()
        totals = self._backward(Batch(inputs, targets), len(inputs))
        return [totals, *(parameter.grad for parameter in self.optimisers.parameters)]

    def _is_capturable(self) -> bool:
        """Whether all batches have the same few shapes, and their gradients are computed by the GPU alone."""
        is_whole = self.processes.count == self.settings.grad_accumulation == 1
        is_plain = self.objective.is_capturable and self.settings.tune == "all" and self.manifest.kind == "image"
        has_recurrence = any(isinstance(layer, nn.RNNBase) for layer in self.network.modules())
        return self.device.type == "cuda" and is_whole and is_plain and not has_recurrence

    def _loss(self, part: Batch) -> tuple[Tensor, Tensor]:
        """The loss and the number of correct predictions of a part of a batch, as the objective computes them.

        Raises DarkroomError if batch norm cannot learn from it.
        """
        try:
            return self.objective.loss(self.network, part)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise DarkroomError(
                "Batch norm needs at least two examples in each part of a batch, which has "
                f"train.batch_size = {self.settings.batch_size}, train.grad_accumulation = "
                f"{self.settings.grad_accumulation} and train.processes = {self.processes.count}: raise the first, or "
                "lower the others. For pretrained weights, train.batch_norm = frozen helps too."
            ) from error

    def _batch_size(self, step: int) -> int:
        """The number of examples of one batch of an epoch, in all processes together."""
        examples, steps = self.batches.examples, self.batches.steps
        return examples // steps + (step < examples % steps)

    def _end_epoch(self, epoch: int, lr: float, steps: int) -> None:
        """Validate, add the epoch's record, and update the weights to keep."""
        network = self.average.module if self.average else self.network
        measured = (
            *self._measure(network, self._read_sample, self.batches.train.labels[self.sample]),
            *(self.losses[:steps].mean().item(), self.correct.item() / sum(map(self._batch_size, range(steps)))),
            *self._measure(network, lambda indices: self.val.inputs[indices], self.val.labels, self.objective.observe),
        )
        of_objective = self.objective.measured()
        self.records.append(Record(epoch + 1, lr, *measured, self.seconds, self.monitor.layers(), of_objective))
        if self.settings.keep_weights == "last" or self._best() is self.records[-1]:
            self.best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        self._begin_epoch()

    def _read_sample(self, indices: np.ndarray) -> np.ndarray:
        """The inputs (n, ..., C) uint8 at `indices` (n,) of the sample of the training split."""
        return next(self.batches.blocks(self.sample[indices], len(indices)))

    def _measure(
        self,
        network: nn.Module,
        read: Callable[[np.ndarray], np.ndarray],
        labels: np.ndarray,
        observe: Callable[[Tensor, Tensor], None] = lambda logits, labels: None,
    ) -> tuple[float, float]:
        """Loss and accuracy of `network` in evaluation mode on the inputs of `labels` (N,).

        `read` returns the inputs (n, ..., C) uint8 at indices (n,).
        """
        size = batch_size(self.val.inputs.shape[1:], self.device, BLOCK)
        targets = torch.from_numpy(np.array(labels))

        def logits(block: np.ndarray) -> Tensor:
            return torch.from_numpy(predict(network, read(block), self.manifest.mean, self.manifest.std, self.dtype))

        if self.objective.ranks:
            return measuring.ranked(logits, targets, len(self.manifest.classes), size, self.processes)
        found = measuring.in_turns(logits, len(labels), len(self.manifest.classes), size, self.processes)
        observe(found, targets)
        return cross_entropy(found, targets).item(), (found.argmax(1) == targets).double().mean().item()

    def _should_stop_early(self) -> bool:
        patience = self.settings.early_stopping
        return bool(patience and self.records) and len(self.records) - self._best().epoch >= patience

    def _best(self) -> Record:
        return records.best(self.records, self.objective.ranks)

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
