"""The batches of training inputs: drawn, augmented and normalised on the device.

A batch depends only on the seed, the epoch and the step (see darkroom/core/randomness.py): not on earlier batches, nor
on whether the inputs are held in memory or read from disk.
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
from darkroom.core.randomness import derive_seed, numpy_generator
from darkroom.models.normalisation import normalise
from darkroom.train import augmentation, memory
from darkroom.train.config import AugmentConfig
from darkroom.train.objective import Batch

MAX_MEMORY_FRACTION = 0.5  # of the free memory; inputs that need more are read from disk batch by batch
READERS = 8  # threads that read from disk: a disk answers many requests at a time, each with some latency


class Batches:
    """Epochs of batches of the training split; its inputs are held on the device if they fit, else prefetched."""

    def __init__(
        self, train: Split, manifest: Manifest, augment: AugmentConfig, batch_size: int, seed: int, device: torch.device
    ):
        self.train, self.manifest, self.seed, self.device = train, manifest, seed, device
        self.batch_size = min(batch_size, len(train))
        self.steps = math.ceil(len(train) / self.batch_size)  # per epoch
        self.augment = _resolve(augment, manifest.augmentation)
        self.labels = torch.from_numpy(np.array(train.labels)).to(device)
        fits = train.inputs.nbytes <= MAX_MEMORY_FRACTION * memory.free(device)
        self.in_memory = torch.from_numpy(arrays.read_whole(train.inputs)).to(device) if fits else None

    def sample(self, n: int, pixels: int) -> Tensor:
        """`n` random images without augmentation, normalised (n, C, H, W) float32; all images if there are fewer.

        If they have more than `pixels` pixels in all, a random window is taken from each: the memory does not grow with
        the size of the images.
        """
        random = numpy_generator(self.seed, "stem")
        chosen = np.sort(random.permutation(len(self.train))[:n])
        height, width, channels = self.train.inputs.shape[1:]
        h, w = (min(size, math.isqrt(pixels // len(chosen))) for size in (height, width))
        windows = np.empty((len(chosen), h, w, channels), np.uint8)
        image = np.empty((1, height, width, channels), np.uint8)
        for window, index in zip(windows, chosen, strict=True):
            arrays.read_into(image, self.train.inputs, np.array([index]))
            top, left = random.integers(height - h + 1), random.integers(width - w + 1)
            window[:] = image[0, top : top + h, left : left + w]
        return normalise(torch.from_numpy(windows).to(self.device), self.manifest.mean, self.manifest.std)

    def blocks(self, indices: np.ndarray, size: int = 500) -> Iterator[np.ndarray]:
        """The inputs (n, ..., C) uint8 at `indices` (N,) int64 as they are, at most `size` at a time."""
        for start in range(0, len(indices), size):
            chosen = indices[start : start + size]
            block = np.empty((len(chosen), *self.train.inputs.shape[1:]), self.train.inputs.dtype)
            arrays.read_into(block, self.train.inputs, chosen)
            yield block

    def epoch(self, epoch: int, first: int, last: int) -> Iterator[Batch]:
        """The batches of the steps `first` (inclusive) to `last` (exclusive) of an epoch, all counted from 0.

        All batches of an epoch have the same size, or one example less.
        """
        order = torch.randperm(len(self.labels), generator=self._generator("order", epoch))
        batches = torch.tensor_split(order, self.steps)[first:last]
        for step, (indices, inputs) in enumerate(self._load(batches), epoch * self.steps + first):
            yield self._mix(self._augment(inputs, indices, epoch, step), self.labels[indices.to(self.device)], step)

    def _load(self, batches: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        """The indices (N,) of each batch, and its inputs (N, ..., C) uint8 on the device."""
        if self.in_memory is not None:
            yield from ((indices, self.in_memory[indices.to(self.device)]) for indices in batches)
            return
        with ThreadPoolExecutor(READERS) as pool:
            pending = [self._start_reading(indices, pool) for indices in batches[:1]]
            for indices, following in pairwise((*batches, None)):
                inputs, parts = pending.pop()
                pending = [self._start_reading(following, pool)] if following is not None else []
                for part in parts:
                    part.result()
                yield indices, inputs.to(self.device, non_blocking=True)

    def _start_reading(self, indices: Tensor, pool: Executor) -> tuple[Tensor, list[Future]]:
        """The inputs (N, ..., C) uint8 at `indices`; they are complete when all futures are done."""
        shape = (len(indices), *self.train.inputs.shape[1:])
        inputs = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        parts = zip(inputs.tensor_split(READERS), indices.tensor_split(READERS), strict=True)
        return inputs, [
            pool.submit(arrays.read_into, part.numpy(), self.train.inputs, chosen.numpy()) for part, chosen in parts
        ]

    def _augment(self, inputs: Tensor, indices: Tensor, epoch: int, step: int) -> Tensor:
        """Augment the inputs (N, ..., C) uint8 for this step, and normalise them to (N, C, ...) float32."""
        n, generator, augment, device = len(inputs), self._generator("augment", step), self.augment, self.device
        if augment.flip == "alternating":
            flipped = augmentation.alternating_flips(indices, epoch, self._generator("flips"))
            inputs = augmentation.flip(inputs, flipped.to(device))
        elif augment.flip == "random":
            inputs = augmentation.flip(inputs, (torch.rand(n, generator=generator) < 0.5).to(device))
        if augment.shift:
            offsets = torch.randint(-augment.shift, augment.shift + 1, (n, 2), generator=generator)
            inputs = augmentation.shift(inputs, offsets.to(device))
        if augment.random_erasing:
            colour = torch.tensor([round(255 * m) for m in self.manifest.mean], dtype=torch.uint8, device=device)
            boxes = augmentation.random_boxes(n, *inputs.shape[1:3], augment.random_erasing, generator)
            inputs = augmentation.erase(inputs, boxes.to(device), colour)
        inputs = normalise(inputs, self.manifest.mean, self.manifest.std)
        if augment.min_crop_area < 1:
            windows = augmentation.random_crops(n, augment.min_crop_area, generator)
            inputs = augmentation.crop(inputs, windows.to(device))
        return inputs

    def _mix(self, inputs: Tensor, labels: Tensor, step: int) -> Batch:
        """The batch, its inputs blended with others of the same batch if mixup or CutMix is on."""
        methods = [name for name in ("mixup", "cutmix") if getattr(self.augment, name)]
        if not methods:
            return Batch(inputs, labels)
        random = numpy_generator(self.seed, "mix", step)
        method = methods[random.integers(len(methods))]
        weight = random.beta(getattr(self.augment, method), getattr(self.augment, method))
        partners = torch.from_numpy(random.permutation(len(labels))).to(self.device)
        if method == "mixup":
            inputs = augmentation.mixup(inputs, partners, weight)
        else:
            inputs, weight = augmentation.cutmix(inputs, partners, weight, *random.random(2))
        targets = one_hot(labels, len(self.manifest.classes)).float()
        return Batch(inputs, weight * targets + (1 - weight) * targets[partners])

    def _generator(self, *counters: int | str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, *counters))


def _resolve(wanted: AugmentConfig, suitable: Augmentation) -> AugmentConfig:
    """Replace every "auto" by what suits the dataset."""
    flip = ("alternating" if suitable.flip else "none") if wanted.flip == "auto" else wanted.flip
    shift = suitable.shift if wanted.shift == "auto" else wanted.shift
    return wanted.model_copy(update={"flip": flip, "shift": shift})
