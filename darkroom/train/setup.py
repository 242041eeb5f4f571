"""Build a training from parameters and data: network, device, precision, objective, trainer."""

from collections.abc import Iterator

import torch

from darkroom.core.arrays import Manifest, Split
from darkroom.core.randomness import derive_seed
from darkroom.core.spelling import counted
from darkroom.models import checkpoints, hardware
from darkroom.models.checkpoints import Description
from darkroom.models.config import ModelConfig
from darkroom.models.registry import build
from darkroom.train import initial_weights, memory
from darkroom.train.config import TrainConfig
from darkroom.train.objective import Supervised
from darkroom.train.trainer import Trainer

FEW_STEPS = 200  # fewer rarely train a network well: sprint, the fastest recipe, takes 253 on Fashion-MNIST


def build_trainer(
    seed: int, model: ModelConfig, settings: TrainConfig, manifest: Manifest, train: Split, val: Split
) -> Trainer:
    """A trainer for a new network on the splits `train` and `val` of the data that `manifest` describes.

    Sets the number of CPU threads of this process and makes it keep freed memory, so call it before large allocations.
    Raises DarkroomError if the machine lacks the device or precision, or if the network cannot take such inputs.
    """
    memory.keep_freed()
    hardware.use_threads(settings.threads)
    device = hardware.choose_device(settings.device)
    precision = hardware.choose_precision(settings.precision, device)
    torch.manual_seed(derive_seed(seed, "weights"))
    network = build(model.name, model.arguments(), manifest.shape, len(manifest.classes))
    has_initial_weights = model.initial_weights != "none"
    if has_initial_weights:
        initial_weights.load(model.initial_weights, network)
    objective = Supervised(settings.label_smoothing)
    return Trainer(
        network, objective, train, val, manifest, settings, seed, device, precision, fit_stem=not has_initial_weights
    )


def notices(settings: TrainConfig, trainer: Trainer) -> Iterator[str]:
    """What a user with few training examples should know before the training: one line each, for people."""
    batches, steps = trainer.batches, trainer.steps()
    if batches.batch_size < settings.batch_size:
        yield (
            f"train.batch_size = {settings.batch_size} is lowered to {batches.batch_size}, "
            "the number of training examples"
        )
    if steps < FEW_STEPS:
        yield (
            f"hint: this training takes only {counted(steps, 'step')}, {batches.steps} per epoch: "
            f"raise train.epochs or lower train.batch_size to take at least {FEW_STEPS}"
        )


def describe_training(
    seed: int, model: ModelConfig, settings: TrainConfig, manifest: Manifest, trainer: Trainer
) -> Description:
    """Describe the network that `trainer` trains: all that determines its weights besides code and hardware."""
    params = {
        "seed": seed,
        "initial_weights": initial_weights.digest(model.initial_weights),
        "train": settings.model_dump(),
        "device": trainer.device.type,
        "precision": trainer.precision,
    }
    return checkpoints.describe(model.name, model.arguments(), manifest, params)
