"""Tiny trainings that can be repeated, for tests."""

from pathlib import Path

import numpy as np
import torch

from darkroom.core import params
from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.models.config import ModelConfig
from darkroom.train import semi_supervised
from darkroom.train.config import TrainConfig
from darkroom.train.objective import Objective, Supervised
from darkroom.train.processes import ALONE, Processes
from darkroom.train.semi_supervised import SemiSupervised
from darkroom.train.trainer import Trainer
from tests import packs
from tests.networks import small

PATH = Path(__file__).parents[1] / "params.yaml"
MODEL, TRAIN = params.load(PATH, model=ModelConfig, train=TrainConfig)
NO_AUGMENTATION = TRAIN.augment.model_copy(
    update={"flip": "none", "shift": 0, "random_erasing": 0.0, "min_crop_area": 1.0, "mixup": 0.0, "cutmix": 0.0}
)
CPU = torch.device("cpu")


def recipe(**changes: object) -> TrainConfig:
    """The recipe of the project, made small, plain and repeatable."""
    plain = {
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "epochs": 2.0,
        "batch_size": 32,
        "min_steps": 0,
        "optimizer": "adamw",
        "lr": 0.01,
        "warmup_fraction": 0.0,
        "label_smoothing": 0.0,
        "keep_weights": "last",
        "augment": NO_AUGMENTATION,
    }
    return TRAIN.model_copy(update={**plain, **changes})


def split(n: int, seed: int) -> Split:
    """Noise of 10 x 10 with a bright patch whose side, left or right, is the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(2, size=n)
    images = random.integers(100, size=(n, 10, 10, 1), dtype=np.uint8)
    images[labels == 0, 3:7, 1:4] += 150
    images[labels == 1, 3:7, 6:9] += 150
    return Split(images, labels, np.array([f"{seed}/{number}" for number in range(n)]))


def manifest(train: Split) -> Manifest:
    axes = tuple(range(train.inputs.ndim - 1))
    scaled = train.inputs / 255
    return Manifest(
        dataset="toy",
        title="Toy",
        licence="CC0",
        classes=("left", "right"),
        shape=train.inputs.shape[1:],
        mean=tuple(scaled.mean(axes).tolist()),
        std=tuple(scaled.std(axes).tolist()),
        counts={"train": len(train), "val": 64, "test": 0},
        augmentation=Augmentation(flip=False, shift=0),
        sha256="0" * 64,
        **packs.AS_IS,
    )


def trainer(
    settings: TrainConfig,
    name: str = "cnn",
    seed: int = 0,
    precision: str = "fp32",
    objective: Objective | None = None,
    examples: int = 256,
    dropout: float = 0.0,
    processes: Processes = ALONE,
    device: torch.device = CPU,
) -> Trainer:
    """A trainer of a small network of the family `name` on 256 images, so 8 steps per epoch of `recipe`.

    A semi-supervised method gets 3 times as many unlabelled images.
    """
    train, val = split(examples, 1), split(64, 2)
    network = small(name, (10, 10, 1), 2, seed, dropout=dropout)
    objective = objective or Supervised(settings.label_smoothing)
    data, unlabelled = manifest(train), None
    if settings.semi_supervised.method != "none":
        objective = SemiSupervised(objective, settings.semi_supervised, data.classes, device)
        unlabelled = semi_supervised.batches(split(3 * examples, 3), settings, data, seed, device, 1)
    return Trainer(network, objective, train, val, data, settings, seed, device, precision, True, processes, unlabelled)


def trained(settings: TrainConfig, **arguments: object) -> dict[str, torch.Tensor]:
    """The weights after a whole training."""
    run = trainer(settings, **arguments)
    list(run.epochs())
    return run.network.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether all tensors are equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
