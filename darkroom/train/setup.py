"""Build a training from parameters and data: network, device, precision, objective, trainer."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import derive_seed
from darkroom.core.spelling import counted
from darkroom.models import checkpoints, hardware
from darkroom.models.checkpoints import Description
from darkroom.models.config import ModelConfig
from darkroom.models.layers import last_layer_name
from darkroom.models.registry import build, require_takes
from darkroom.train import distillation, gradients, histories, initial_weights, length, semi_supervised
from darkroom.train.config import TrainConfig
from darkroom.train.head import HeadTrainer
from darkroom.train.objective import Objective, Supervised
from darkroom.train.processes import ALONE, Processes
from darkroom.train.records import Record
from darkroom.train.semi_supervised import SemiSupervised
from darkroom.train.trainer import Trainer
from darkroom.weights import pretrained

FEW_STEPS = 200  # fewer rarely train a network well: sprint, the fastest recipe, takes 253 on Fashion-MNIST


def build_trainer(
    seed: int,
    model: ModelConfig,
    settings: TrainConfig,
    manifest: Manifest,
    train: Split,
    val: Split,
    processes: Processes = ALONE,
    unlabelled: Split | None = None,
) -> Trainer:
    """A trainer for a new network on the splits `train` and `val` of the data that `manifest` describes.

    A semi-supervised method trains on the split `unlabelled` too; others ignore it. The trainer's `settings` hold the
    batch size and the number of epochs that suit the number of training examples.
    Sets the number of CPU threads of this process and makes it keep freed memory, so call it before large allocations.
    Raises DarkroomError if there are too few labels, if the machine lacks the device or precision, if the network
    cannot take such inputs, or if another process has other parameters or data.
    """
    arrays.require_labels(manifest)
    processes.require_same([seed, model.model_dump(), settings.model_dump(), asdict(manifest)])
    if settings.semi_supervised.method == semi_supervised.NONE:
        unlabelled = None
    else:
        semi_supervised.require(unlabelled, settings.semi_supervised, manifest)
    settings = length.resolve(settings, len(train), len(unlabelled or ()))
    hardware.keep_freed_memory()
    hardware.use_threads(settings.threads, processes.local_count)
    device = hardware.choose_device(settings.device)
    precision = hardware.choose_precision(settings.precision, device)
    torch.manual_seed(derive_seed(seed, "weights"))
    weights = initial_weights.find(model)
    if weights:
        manifest = initial_weights.normalised(weights, manifest)
    arguments = initial_weights.arguments(model, weights)
    require_takes(model.name, manifest.kind)
    network = build(model.name, arguments, manifest.shape, len(manifest.classes))
    random = pretrained.load(pretrained.FOLDER, network) if weights else []
    remarks = tuple(initial_weights.remarks(weights, random, last_layer_name(network), manifest, len(train)))
    if manifest.kind == "history":
        histories.prepare(network, manifest, train)
    objective = _objective(settings, manifest, train, device)
    if settings.tune == "head":
        if processes.count > 1:
            raise DarkroomError("train.tune = head runs as one process: start it with `dvc repro`, not with torchrun.")
        built = {"family": model.name, "arguments": arguments}
        trainer = HeadTrainer(network, objective, train, val, manifest, settings, seed, device, built)
    else:
        more = semi_supervised.batches(unlabelled, settings, manifest, seed, device, processes.local_count)
        trainer = Trainer(
            network, objective, train, val, manifest, settings, seed, device, precision, not weights, processes, more
        )
    trainer.remarks = remarks
    return trainer


def _objective(settings: TrainConfig, manifest: Manifest, train: Split, device: torch.device) -> Objective:
    if manifest.kind == "history":
        return histories.objective(settings, manifest, train, device)
    supervised, teacher = Supervised(settings.label_smoothing), distillation.find(settings.distill)
    if settings.semi_supervised.method != semi_supervised.NONE:
        return SemiSupervised(supervised, settings.semi_supervised, manifest.classes, device)
    if teacher is None:
        return supervised
    return distillation.build(teacher, settings.distill, supervised, manifest, device)


def notices(settings: TrainConfig, trainer: Trainer) -> Iterator[str]:
    """Batch size and length of the training, and how they were chosen from `settings`: lines for people."""
    chosen, steps = trainer.settings, trainer.steps()
    chosen_by = " (train.batch_size = auto)" if settings.batch_size == "auto" else ""
    per_epoch = counted(trainer.batches.steps, "step")
    yield (
        f"batches of {chosen.batch_size}{chosen_by}, {chosen.epochs:g} epochs of {per_epoch}: {counted(steps, 'step')}"
    )
    if settings.batch_size != "auto" and chosen.batch_size < settings.batch_size:
        yield (
            f"train.batch_size = {settings.batch_size} is lowered to {chosen.batch_size}, "
            "the number of training examples"
        )
    if chosen.epochs > settings.epochs:
        yield (
            f"train.epochs = {settings.epochs:g} is raised to {chosen.epochs:g}, to take at least "
            f"train.min_steps = {settings.min_steps} steps; 0 switches this off"
        )
    yield from trainer.remarks
    if teacher := distillation.find(settings.distill):
        yield (
            f"teacher {teacher.name}: {teacher}, test accuracy {teacher.accuracy:.2%}; "
            f"{settings.distill.weight:.0%} of the loss, at temperature {settings.distill.temperature:g}"
        )
    yield from semi_supervised.notices(settings.semi_supervised, trainer.batches.unlabelled, trainer.data)
    count = trainer.processes.count
    if settings.processes not in ("auto", count):
        reason = " (train.tune = head)" if settings.tune == "head" else ""
        yield f"train.processes = {settings.processes} is lowered to {count} here{reason}"
    if settings.parallel == "sharded" and count == 1:
        yield "train.parallel = sharded changes nothing with one process"
    if steps < FEW_STEPS:
        yield (
            f"hint: {counted(steps, 'step')} rarely train a network well: set train.min_steps to at least {FEW_STEPS}"
        )


def warnings(record: Record, trainer: Trainer) -> list[str]:
    """What went wrong in an epoch, with advice."""
    labels = trainer.batches.train.labels
    return [*gradients.warnings(record.layers), *semi_supervised.warnings(record.objective, labels)]


def describe_training(seed: int, model: ModelConfig, trainer: Trainer) -> Description:
    """Describe the network that `trainer` trains: all that determines its weights besides code and hardware.

    Raises DarkroomError if that differs in another process.
    """
    weights, teacher = initial_weights.find(model), distillation.find(trainer.settings.distill)
    params = {
        "seed": seed,
        "pretrained": asdict(weights) if weights else None,
        "teacher": teacher.model_dump(mode="json") if teacher else None,
        "train": _described(trainer.settings),  # with the chosen batch size and number of epochs
        "steps": trainer.steps(),
        "device": trainer.device.type,
        "precision": trainer.precision,
    }
    description = checkpoints.describe(model.name, initial_weights.arguments(model, weights), trainer.data, params)
    trainer.processes.require_same(asdict(description))
    return description


def _described(settings: TrainConfig) -> dict[str, Any]:
    """The values of `settings`; without sampled items there is no such key, so that other trainings don't change."""
    return settings.model_dump(exclude=None if settings.sampled_items else {"sampled_items"})
