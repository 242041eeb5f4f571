"""The training pictures a batch a step: drawn, varied and normalised, on the device.

What a step shows depends on the seed, the epoch and the step alone (see `randomness`): not on what was shown before, nor
on whether the pictures are held on the device or read from disk as they are needed.
"""

import math
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from darkroom.core import arrays
from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import derive_seed, numpy_generator
from darkroom.models import normalisation
from darkroom.train import augmentation, memory
from darkroom.train.config import AugmentConfig
from darkroom.train.objective import Batch

HELD_SHARE = 0.5  # of the memory that is free: pictures that take more are read from disk as they are needed
READERS = 8  # threads that read: a disk answers many at a time, each after a while


class Batches:
    """Epochs of batches of the split `train`, whose pictures are held on the device if they fit, else prefetched."""

    def __init__(
        self, train: Split, manifest: Manifest, augment: AugmentConfig, batch_size: int, seed: int, device: torch.device
    ):
        if batch_size > len(train):
            raise DarkroomError(
                f"train.batch_size = {batch_size} is more than the {len(train)} training pictures: lower it."
            )
        self.train, self.manifest, self.seed, self.device = train, manifest, seed, device
        self.steps = math.ceil(len(train) / batch_size)  # of a whole epoch
        self.augment = _resolve(augment, manifest.augmentation)
        self.labels = torch.from_numpy(np.array(train.labels)).to(device)
        self.held = (
            torch.from_numpy(arrays.read_whole(train.inputs)).to(device) if _fits(train.inputs, device) else None
        )

    def sample(self, n: int) -> Tensor:
        """Some pictures as they are, normalised (n, C, H, W) float32 or all if there are fewer: to fit a stem to."""
        chosen = numpy_generator(self.seed, "stem").permutation(len(self.train))[:n]
        images = np.empty((len(chosen), *self.train.inputs.shape[1:]), np.uint8)
        arrays.read_into(images, self.train.inputs, np.sort(chosen))
        return normalisation.normalise(torch.from_numpy(images).to(self.device), self.manifest.mean, self.manifest.std)

    def epoch(self, epoch: int, first: int, last: int) -> Iterator[Batch]:
        """The steps `first` up to but not including `last` of an epoch, all counted from 0.

        Yields pictures (N, C, H, W) float32 and what they show: classes (N,) int64, or where pictures are mixed the shares
        of all classes (N, K) float32. All batches of an epoch have the same size, or one picture less.
        """
        order = torch.randperm(len(self.labels), generator=self._generator("order", epoch))
        batches = torch.tensor_split(order, self.steps)[first:last]
        for step, (batch, images) in enumerate(self._drawn(batches), epoch * self.steps + first):
            yield self._mixed(self._varied(images, batch, epoch, step), self.labels[batch.to(self.device)], step)

    def _drawn(self, batches: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        """Each batch's indices (N,) and its pictures (N, H, W, C) uint8 on the device."""
        if self.held is not None:
            yield from ((batch, self.held[batch.to(self.device)]) for batch in batches)
            return
        with ThreadPoolExecutor(READERS) as pool:
            pending = [self._begin_to_read(batch, pool) for batch in batches[:1]]
            for batch, following in pairwise((*batches, None)):
                images, parts = pending.pop()
                pending = [self._begin_to_read(following, pool)] if following is not None else []
                for part in parts:
                    part.result()
                yield batch, images.to(self.device, non_blocking=True)

    def _begin_to_read(self, batch: Tensor, pool: Executor) -> tuple[Tensor, list[Future]]:
        """The pictures of `batch`, (N, H, W, C) uint8, that are whole once the parts are done."""
        images = torch.empty(
            (len(batch), *self.train.inputs.shape[1:]), dtype=torch.uint8, pin_memory=self.device.type == "cuda"
        )
        parts = zip(images.tensor_split(READERS), batch.tensor_split(READERS), strict=True)
        return images, [
            pool.submit(arrays.read_into, part.numpy(), self.train.inputs, places.numpy()) for part, places in parts
        ]

    def _varied(self, images: Tensor, batch: Tensor, epoch: int, step: int) -> Tensor:
        """The pictures (N, H, W, C) uint8 of `batch` (N,) varied for this step and normalised: (N, C, H, W) float32."""
        n, height, width, _ = images.shape
        generator, augment, device = self._generator("augment", step), self.augment, self.device
        if augment.flip == "alternating":
            images = augmentation.flip(
                images, augmentation.alternating_flips(batch, epoch, self._generator("flips")).to(device)
            )
        elif augment.flip == "random":
            images = augmentation.flip(images, (torch.rand(n, generator=generator) < 0.5).to(device))
        if augment.shift:
            images = augmentation.shift(
                images, torch.randint(-augment.shift, augment.shift + 1, (n, 2), generator=generator).to(device)
            )
        if augment.random_erasing:
            colour = torch.tensor([round(255 * m) for m in self.manifest.mean], dtype=torch.uint8, device=device)
            images = augmentation.erase(
                images,
                augmentation.random_boxes(n, height, width, augment.random_erasing, generator).to(device),
                colour,
            )
        images = normalisation.normalise(images, self.manifest.mean, self.manifest.std)
        if augment.min_crop_area < 1:
            images = augmentation.crop(
                images, augmentation.random_crops(n, augment.min_crop_area, generator).to(device)
            )
        return images

    def _mixed(self, images: Tensor, labels: Tensor, step: int) -> Batch:
        """The batch, each picture mixed with another of the same batch where mixup or CutMix asks for it."""
        ways = [way for way in ("mixup", "cutmix") if getattr(self.augment, way)]
        if not ways:
            return Batch(images, labels)
        random = numpy_generator(self.seed, "mix", step)
        way = ways[random.integers(len(ways))]
        share = random.beta(getattr(self.augment, way), getattr(self.augment, way))
        partner = torch.from_numpy(random.permutation(len(labels))).to(self.device)
        if way == "mixup":
            images = augmentation.mixup(images, partner, share)
        else:
            images, share = augmentation.cutmix(images, partner, share, *random.random(2))
        shown = one_hot(labels, len(self.manifest.classes)).float()
        return Batch(images, share * shown + (1 - share) * shown[partner])

    def _generator(self, *counters: int | str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, *counters))


def _fits(images: np.ndarray, device: torch.device) -> bool:
    return images.nbytes <= HELD_SHARE * memory.free(device)


def _resolve(wanted: AugmentConfig, suitable: Augmentation) -> AugmentConfig:
    """The augmentation with every "auto" replaced by what suits the dataset."""
    flip = ("alternating" if suitable.flip else "none") if wanted.flip == "auto" else wanted.flip
    shift = suitable.shift if wanted.shift == "auto" else wanted.shift
    return wanted.model_copy(update={"flip": flip, "shift": shift})
