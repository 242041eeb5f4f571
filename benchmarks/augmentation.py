"""Measure images/s of each augmentation of photos, beside those of a training step.

All take turns on random images of 256 x 256 pixels in memory, of which the network sees 224 x 224. The time of an
augmentation is that of whole batches, with gathering and normalising them.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks.command import parser
from benchmarks.tables import markdown, median_range
from darkroom.core import params, processor
from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.models import hardware
from darkroom.models.registry import build
from darkroom.train.batches import Batches
from darkroom.train.config import AugmentConfig, TrainConfig
from darkroom.train.head import UNCHANGED
from darkroom.train.mixed_precision import autocast
from darkroom.train.objective import Batch, Supervised

PACKED, SIZE, CLASSES, SEED = 256, 224, 10, 0
CROPS = {"min_crop_area": 0.5, "max_crop_aspect": 4 / 3}
AUGMENTATIONS = {
    "none": {},
    "random crops": CROPS,
    "flip": {"flip": "random"},
    "color_jitter": {"color_jitter": 0.4},
    "policy: trivial": {"policy": "trivial"},
    "policy: rand": {"policy": "rand"},
    "random_erasing": {"random_erasing": 0.25},
    "mixup": {"mixup": 0.4},
    "cutmix": {"cutmix": 1.0},
    "crops, flip, color_jitter, trivial": CROPS | {"flip": "random", "color_jitter": 0.4, "policy": "trivial"},
}


def main() -> None:
    options = parser("augmentation", __doc__)
    options.add_argument("--architecture", default="efficientnet_lite0", help="network of timm")
    options.add_argument("--batch-size", type=int, default=32, help="images of a batch")
    options.add_argument("--batches", type=int, default=8, help="augmented batches per turn; one is trained on")
    options.add_argument("--turns", type=int, default=5, help="turns")
    chosen = options.parse_args()
    hardware.keep_freed_memory()
    hardware.use_threads("auto")
    device = hardware.choose_device("auto")
    settings = params.load(train=TrainConfig)
    plain = settings.augment.model_copy(update=UNCHANGED)
    images = chosen.batch_size * chosen.batches
    sources = {
        name: batches(plain.model_copy(update=changes), images, chosen.batch_size, device)
        for name, changes in AUGMENTATIONS.items()
    }
    step, trained_on = training_step(chosen.architecture, device), next(sources["none"].epoch(0, 0, 1))

    training: list[float] = []
    speeds: dict[str, list[float]] = {name: [] for name in sources}
    for turn in range(chosen.turns + 1):  # the first warms up
        measured = speed(chosen.batch_size, partial(step, trained_on), device)
        training += [measured] if turn else []
        for name, source in sources.items():
            measured = speed(images, partial(show, source, turn), device)
            speeds[name] += [measured] if turn else []

    print(
        f"{PACKED} x {PACKED} to {SIZE} x {SIZE} pixels, batches of {chosen.batch_size}; {processor.describe()}; "
        f"medians (and ranges) of {chosen.turns} turns\n"
    )
    ratios = {
        name: [100 * step / one for step, one in zip(training, found, strict=True)] for name, found in speeds.items()
    }
    rows = [(f"training step of {chosen.architecture}", median_range(training), "100")]
    rows += [(name, median_range(found, 0), median_range(ratios[name])) for name, found in speeds.items()]
    print(markdown(("", "images/s", "% of the time of a training step"), rows))


def batches(augment: AugmentConfig, images: int, batch_size: int, device: torch.device) -> Batches:
    """Batches of random images, augmented as `augment` says."""
    pixels = np.random.default_rng(SEED).integers(256, size=(images, PACKED, PACKED, 3), dtype=np.uint8)
    labels, ids = np.arange(images) % CLASSES, np.array([str(number) for number in range(images)])
    manifest = Manifest(
        dataset="random",
        title="Random images",
        licence="CC0",
        classes=tuple(str(label) for label in range(CLASSES)),
        shape=(SIZE, SIZE, 3),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        counts={"train": images},
        augmentation=Augmentation(flip=False, shift=0),
        sha256="",
        test_sha256="",
        test_examples_sha256="",
        resize="stretch",
        interpolation="bilinear",
        crop_fraction=1.0,
    )
    return Batches(Split(pixels, labels, ids, (SIZE, SIZE)), manifest, augment, batch_size, SEED, device)


def show(source: Batches, epoch: int) -> None:
    """Make all batches of an epoch."""
    for _ in source.epoch(epoch, 0, source.steps):
        pass


def training_step(architecture: str, device: torch.device) -> Callable[[Batch], None]:
    """Forward pass, backward pass and step of a new network."""
    network = build("timm", {"architecture": architecture}, (SIZE, SIZE, 3), CLASSES)
    network = network.to(device, memory_format=torch.channels_last).train()
    optimiser, objective = torch.optim.AdamW(network.parameters()), Supervised(0.0)
    dtype = hardware.PRECISIONS[hardware.choose_precision("auto", device)]

    def step(batch: Batch) -> None:
        with autocast(device, dtype):
            loss, _ = objective.loss(network, batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def speed(images: int, work: Callable[[], object], device: torch.device) -> float:
    """Images/s of `work` on so many images."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return images / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
