"""The batches of training inputs: drawn, augmented and normalised on the device.

A batch depends only on the seed, the epoch and the step (see darkroom/core/randomness.py): not on earlier batches, on
the number of processes that share it, nor on whether the inputs are held in memory or read from disk.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.core.randomness import derive_seed, numpy_generator
from darkroom.models import hardware, sequences
from darkroom.models.normalisation import normalise
from darkroom.train import mixing
from darkroom.train.augmentation import Augmenter
from darkroom.train.config import AugmentConfig
from darkroom.train.length import steps_per_epoch
from darkroom.train.loading import Loader
from darkroom.train.mixing import Mixing
from darkroom.train.objective import Batch
from darkroom.train.unlabelled import PartlyLabelled, Unlabelled, shuffled


class _Share(NamedTuple):
    """What one process needs of a batch: its own examples, and those that are mixed into them."""

    step: int  # counted from the start of the training
    indices: Tensor  # (N,) int64: examples of the whole batch
    members: Tensor  # (M,) int64: those that are loaded and augmented, as indices into `indices`
    own: Tensor  # (n,) int64: those of this process, as indices into `members`
    mixing: Mixing | None  # its partners (n,) are indices into `members` too

    def examples(self) -> Tensor:
        """The members (M,) int64, as indices into the split."""
        return self.indices[self.members]


class Batches:
    """Epochs of batches of the training split; its inputs are held on the device if they fit, else prefetched.

    With unlabelled examples, each labelled one comes with `unlabelled.ratio` of them. An epoch then shows all examples
    of both kinds: the kind that takes fewer steps is shown repeatedly, each time in a new order.
    """

    def __init__(
        self,
        train: Split,
        manifest: Manifest,
        augment: AugmentConfig,
        batch_size: int,
        seed: int,
        device: torch.device,
        local_count: int = 1,  # processes of this machine, each with its own copy of the inputs
        unlabelled: Unlabelled | None = None,
    ):
        self.train, self.manifest, self.seed, self.device = train, manifest, seed, device
        self.batch_size = min(batch_size, len(train))
        self.unlabelled = unlabelled
        more = (len(unlabelled), unlabelled.ratio) if unlabelled else ()
        self.steps = steps_per_epoch(len(train), self.batch_size, *more)
        repeats = self.steps > steps_per_epoch(len(train), self.batch_size)
        self.examples = self.steps * self.batch_size if repeats else len(train)  # labelled ones that an epoch shows
        self.learned = self.examples * (1 + unlabelled.ratio if unlabelled else 1)  # inputs with a gradient, per epoch
        self.augmenter = Augmenter(augment, manifest, seed, device)
        self.labels = torch.from_numpy(np.array(train.labels)).to(device)
        self.loader = Loader(train.uncropped if self.augmenter.crops else train.inputs, device, local_count)
        stored = self.loader.stored
        self.lengths = sequences.lengths(stored) if sequences.are(stored) else None

    @property
    def mean_shape(self) -> tuple[int, ...]:
        """The shape of an input, of sequences with their mean length: what the steps compute, but for some padding."""
        shape = self.manifest.shape
        return shape if self.lengths is None else (max(1, round(float(self.lengths.mean()))), *shape[1:])

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

    def epoch(self, epoch: int, first: int, last: int, part: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """The batches of the steps `first` (inclusive) to `last` (exclusive) of an epoch, all counted from 0.

        All batches of an epoch have the same number of labelled examples, or one less. With `part` = (rank, size), only
        the part `Batch.split(size)[rank]` of each batch, bit for bit; no more inputs are read and augmented than it
        needs.
        """
        batches = self._drawn(epoch)[first:last]
        shares = (self._share(indices, step, part) for step, indices in enumerate(batches, epoch * self.steps + first))
        labelled = (
            self._mix(share, self.augmenter(stored, share.indices, share.members, epoch, share.step))
            for share, stored in self.loader.load((share, share.examples()) for share in shares)
        )
        if self.unlabelled is None:
            yield from labelled
            return
        views = self.unlabelled.epoch(epoch, self.examples, self.steps, first, last, part)
        for batch, (weak, strong) in zip(labelled, views, strict=True):
            yield PartlyLabelled(*batch, weak, strong)

    def _drawn(self, epoch: int) -> tuple[Tensor, ...]:
        """The examples of each batch of an epoch, as indices into the split."""
        generator = self._generator("order", epoch)
        order = shuffled(len(self.labels), self.examples, generator)
        if self.lengths is not None:
            return sequences.grouped(order, self.lengths, self.steps, generator)
        return torch.tensor_split(order, self.steps)

    def _share(self, indices: Tensor, step: int, part: tuple[int, int]) -> _Share:
        """What one process needs of the batch of the examples `indices` (N,) int64."""
        rank, size = part
        own = torch.arange(len(indices)).tensor_split(size)[rank]
        alphas = self.augmenter.settings.mixup, self.augmenter.settings.cutmix
        mixed = mixing.draw(len(indices), *alphas, numpy_generator(self.seed, "mix", step))
        if mixed is None:
            return _Share(step, indices, own, torch.arange(len(own)), None)
        members, found = torch.cat([own, mixed.partners[own]]).unique(return_inverse=True)
        own, partners = found.tensor_split(2)
        return _Share(step, indices, members, own, mixed._replace(partners=partners))

    def _mix(self, share: _Share, inputs: Tensor) -> Batch:
        """The batch of the own examples, blended with their partners; `inputs` (M, C, ...) are those of the members."""
        labels = self.labels[hardware.send(share.examples(), self.device)]
        if share.mixing is None:
            return Batch(inputs, labels)
        own, partners = (hardware.send(part, self.device) for part in (share.own, share.mixing.partners))
        mixed, weight = mixing.mix(share.mixing, inputs[own], inputs[partners])
        targets = one_hot(labels, len(self.manifest.classes)).float()
        return Batch(mixed, weight * targets[own] + (1 - weight) * targets[partners])

    def _generator(self, *counters: int | str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, *counters))
