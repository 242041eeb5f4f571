"""Build a training from parameters and data: network, device, precision, objective, trainer."""

import torch

from darkroom.core.arrays import Manifest, Split
from darkroom.core.randomness import derive_seed
from darkroom.models import checkpoints, hardware
from darkroom.models.checkpoints import Description
from darkroom.models.config import ModelConfig
from darkroom.models.registry import build
from darkroom.train import initial_weights, memory
from darkroom.train.config import TrainConfig
from darkroom.train.objective import Supervised
from darkroom.train.trainer import Trainer


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
