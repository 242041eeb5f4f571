"""Batches of unlabelled examples: a weak and a strong view of each, drawn, augmented and normalised on the device.

The weak view of an image has the crops, flips and shifts of train.augment. The strong one also has its other changes,
and at least RandAugment and random erasing, as FixMatch has RandAugment and Cutout: Sohn et al., "FixMatch: simplifying
semi-supervised learning with consistency and confidence", NeurIPS 2020. Views of a text: token_views.py.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from darkroom.core.arrays import Manifest, Split
from darkroom.core.randomness import derive_seed
from darkroom.models import sequences
from darkroom.train.augmentation import Augmenter, resolve
from darkroom.train.config import AugmentConfig
from darkroom.train.loading import Loader
from darkroom.train.token_views import TokenViews

ERASED = 0.5  # least probability of random erasing in a strong view
WEAK, STRONG = (0.1, 0.0), (0.3, 0.1)  # of texts: probabilities with which a token is left out, and replaced


class PartlyLabelled(NamedTuple):
    """A batch of labelled inputs, each of which comes with R unlabelled ones; all on the device."""

    inputs: Tensor  # as in `objective.Batch`
    targets: Tensor
    weak: Tensor  # (N, R, C, ...) float32, normalised, or (N, R, l) int64
    strong: Tensor  # (N, R, C, ...): the same examples

    def split(self, parts: int) -> list["PartlyLabelled"]:
        """Split into `parts` batches of nearly equal size, for gradient accumulation."""
        tensors = zip(*(tensor.tensor_split(parts) for tensor in self), strict=True)
        return [PartlyLabelled(*part) for part in tensors]


class Unlabelled:
    """The unlabelled examples, `ratio` of them for each labelled one."""

    def __init__(
        self,
        split: Split,
        manifest: Manifest,
        augment: AugmentConfig,
        ratio: int,
        has_strong_view: bool,  # False: the strong view is the weak one
        seed: int,
        device: torch.device,
        local_count: int = 1,  # see Batches
    ):
        self.count, self.ratio, self.seed = len(split), ratio, seed
        self.lengths = None
        if manifest.kind == "text":
            self.lengths = sequences.lengths(split.inputs)
            self.weak = TokenViews(split.inputs, *WEAK, seed, device, "weak view")
            strong_view = TokenViews(split.inputs, *STRONG, seed, device, "strong view")
        else:
            self.weak = Augmenter(weak(augment, manifest), manifest, seed, device, "weak view")
            strong_view = Augmenter(strong(augment, manifest), manifest, seed, device, "strong view")
        self.strong = strong_view if has_strong_view else None
        self.loader = Loader(split.uncropped if self.weak.crops else split.inputs, device, local_count)

    def __len__(self) -> int:
        return self.count

    def epoch(
        self, epoch: int, labelled: int, steps: int, first: int, last: int, part: tuple[int, int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Weak and strong views (N, R, C, ...) for the batches of `Batches.epoch`, which shows `labelled` examples."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "unlabelled order", epoch))
        order = shuffled(self.count, labelled * self.ratio, generator).view(labelled, self.ratio)
        if self.lengths is None:
            drawn = torch.tensor_split(order, steps)
        else:
            drawn = sequences.grouped(order, self.lengths, steps, generator)
        (rank, size), batches = part, drawn[first:last]
        requests = (
            (
                (epoch * steps + step, indices.flatten(), members := _rows(indices, size)[rank]),
                indices.flatten()[members],
            )
            for step, indices in enumerate(batches, first)
        )
        for (step, indices, members), stored in self.loader.load(requests):
            views = [
                view(stored, indices, members, epoch, step).unflatten(0, (-1, self.ratio))
                for view in (self.weak, self.strong)
                if view
            ]
            yield views[0], views[-1]


def shuffled(count: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Indices (wanted,) int64 below `count` in random order: a permutation, then another one if more are wanted."""
    orders = [torch.randperm(count, generator=generator) for _ in range(-(-wanted // count))]
    return torch.cat(orders)[:wanted]


def weak(augment: AugmentConfig, manifest: Manifest) -> AugmentConfig:
    """The augmentation of weak views."""
    known = resolve(augment, manifest.augmentation)
    flip = "none" if known.flip == "none" else "random"  # examples that are shown several times need no alternation
    off = {"random_erasing": 0.0, "color_jitter": 0.0, "policy": "none", "mixup": 0.0, "cutmix": 0.0}
    return known.model_copy(update={"flip": flip, **off})


def strong(augment: AugmentConfig, manifest: Manifest) -> AugmentConfig:
    """The augmentation of strong views."""
    least = "rand" if manifest.shape[-1] in (1, 3) and augment.policy == "none" else augment.policy
    changes = {
        "policy": least,
        "color_jitter": augment.color_jitter,
        "random_erasing": max(ERASED, augment.random_erasing),
    }
    return weak(augment, manifest).model_copy(update=changes)


def _rows(indices: Tensor, parts: int) -> list[Tensor]:
    """Which of the examples `indices` (N, R), flattened, each of `parts` parts of the batch has."""
    rows = torch.arange(indices.numel()).view(indices.shape).tensor_split(parts)
    return [part.flatten() for part in rows]
