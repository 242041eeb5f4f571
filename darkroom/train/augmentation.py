"""The random changes of training inputs: which ones, in which order, and their random numbers."""

import torch
from torch import Tensor

from darkroom.core.arrays import Augmentation, Manifest
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import derive_seed
from darkroom.models import hardware
from darkroom.models.normalisation import normalise
from darkroom.train import colour_jitter, geometry, policies
from darkroom.train.config import AugmentConfig

UNCHANGED = {  # the settings for inputs that are not images
    "flip": "none",
    "shift": 0,
    "random_erasing": 0.0,
    "min_crop_area": 1.0,
    "max_crop_aspect": 1.0,
    "color_jitter": 0.0,
    "policy": "none",
    "mixup": 0.0,
    "cutmix": 0.0,
}


class Augmenter:
    """Augments the inputs of a step as `settings` say; the manifest says what "auto" means for the dataset."""

    def __init__(
        self,
        settings: AugmentConfig,
        manifest: Manifest,
        seed: int,
        device: torch.device,
        stream: str = "augment",  # of random numbers: a name for each view of an input
    ):
        if manifest.kind == "image":
            settings = resolve(settings, manifest.augmentation)
        else:
            settings = settings.model_copy(update=UNCHANGED)
        self.settings = settings
        self.first_flips = torch.empty(0, dtype=torch.bool)  # of the first images of the split
        self.manifest, self.seed, self.device, self.stream = manifest, seed, device, stream
        if (settings.color_jitter or settings.policy != "none") and manifest.shape[-1] not in (1, 3):
            raise DarkroomError(
                f"train.augment.color_jitter and policy need images of 1 or 3 channels, and the dataset's have "
                f"{manifest.shape[-1]}: set them to 0 and none."
            )

    @property
    def crops(self) -> bool:
        """Whether inputs are cut at random out of larger images."""
        return self.settings.min_crop_area < 1

    def __call__(self, inputs: Tensor, indices: Tensor, members: Tensor, epoch: int, step: int) -> Tensor:
        """Augment inputs (M, ..., C) uint8, and normalise them to (M, C, ...) float32; see `normalise` for sequences.

        They are the `members` (M,) int64 of the batch of the examples `indices` (N,) int64. Random numbers are drawn
        for the whole batch, so an input does not depend on which others are members. `step` counts from the start of
        the training. If `crops`, the inputs may be larger than those of the network.
        """
        n, settings, generator = len(indices), self.settings, self._generator(self.stream, step)

        def own(drawn: Tensor) -> Tensor:
            return hardware.send(drawn[members], self.device)

        if self.crops:
            size = (inputs.shape[1], inputs.shape[2])
            windows = geometry.random_crops(n, size, settings.min_crop_area, settings.max_crop_aspect, generator)
            inputs = geometry.crop(inputs, windows[members], self.manifest.shape[:2])
        if settings.flip == "alternating":
            inputs = geometry.flip(inputs, own(self._first_flips(indices) ^ bool(epoch % 2)))
        elif settings.flip == "random":
            inputs = geometry.flip(inputs, own(torch.rand(n, generator=generator) < 0.5))
        if settings.shift:
            offsets = torch.randint(-settings.shift, settings.shift + 1, (n, 2), generator=generator)
            inputs = geometry.shift(inputs, own(offsets), settings.shift)
        if settings.policy != "none":
            policy = policies.POLICIES[settings.policy]
            inputs = policies.apply(inputs, policies.draw(n, policy, generator)[members], policy)
        if settings.color_jitter:
            factors = colour_jitter.random_factors(n, settings.color_jitter, generator)
            order = torch.randperm(len(colour_jitter.OPERATIONS), generator=generator)
            inputs = colour_jitter.jitter(inputs, own(factors), order)
        if settings.random_erasing:
            boxes = geometry.random_boxes(n, *inputs.shape[1:3], settings.random_erasing, generator)
            mean = torch.tensor([round(255 * m) for m in self.manifest.mean], dtype=torch.uint8)
            inputs = geometry.erase(inputs, own(boxes), hardware.send(mean, self.device))
        return normalise(inputs, self.manifest.mean, self.manifest.std)

    def _first_flips(self, indices: Tensor) -> Tensor:
        """Which of the examples `indices` (N,) int64 are mirrored in the first epoch: (N,) bool."""
        count = int(indices.max()) + 1
        if count > len(self.first_flips):
            self.first_flips = geometry.first_flips(2 * count, self._generator("flips"))
        return self.first_flips[indices]

    def _generator(self, *counters: int | str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, *counters))


def resolve(wanted: AugmentConfig, suitable: Augmentation) -> AugmentConfig:
    """Replace every "auto" by what suits the dataset."""
    flip = ("alternating" if suitable.flip else "none") if wanted.flip == "auto" else wanted.flip
    shift = suitable.shift if wanted.shift == "auto" else wanted.shift
    return wanted.model_copy(update={"flip": flip, "shift": shift})
