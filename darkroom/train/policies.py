"""TrivialAugment and RandAugment: each image gets operations at random, as torchvision's transforms v2 define them.

TrivialAugment: Müller and Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", ICCV 2021 (its
wide space). RandAugment: Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search
space", NeurIPS 2020. torchvision's own classes draw from the global generator and take one image at a time, so only its
operations are used. Pixels from outside of an image are black.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

LEVELS = 31  # of the strength of an operation: 0 to 30
OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "saturation",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
UNSIGNED = ("posterize", "solarize")  # the magnitude of all others is negative for half of the images


@dataclass(frozen=True)
class Policy:
    """How many operations each image gets, and their magnitudes at the strongest level."""

    count: int
    level: int | None  # None: a random one for each operation
    shear: float  # tangent of the angle
    translate: tuple[float, float]  # pixels, and fraction of the side, which are added
    rotate: float  # degrees
    change: float  # of brightness, contrast, saturation and sharpness
    bits: int  # that posterize keeps of 8

    def magnitude(self, operation: str, level: int, height: int, width: int) -> float:
        """The magnitude of an operation at a level from 0 to 30, which is negative for a negative magnitude."""
        pixels, fraction = self.translate
        weakest, strongest = {
            "shear_x": (0.0, self.shear),
            "shear_y": (0.0, self.shear),
            "translate_x": (0.0, pixels + fraction * width),
            "translate_y": (0.0, pixels + fraction * height),
            "rotate": (0.0, self.rotate),
            "posterize": (8.0, float(self.bits)),
            "solarize": (1.0, 0.0),
        }.get(operation, (0.0, self.change))
        magnitude = float(torch.linspace(weakest, strongest, LEVELS)[abs(level)])
        return -magnitude if level < 0 and operation not in UNSIGNED else magnitude


POLICIES = {
    "trivial": Policy(1, None, shear=0.99, translate=(32.0, 0.0), rotate=135.0, change=0.99, bits=2),
    "rand": Policy(2, 9, shear=0.3, translate=(0.0, 150 / 331), rotate=30.0, change=0.9, bits=4),
}


def draw(n: int, policy: Policy, generator: torch.Generator) -> Tensor:
    """For each of `n` images and each of its operations, the index in OPERATIONS and the level: (N, count, 2) int64.

    A negative level stands for a negative magnitude.
    """
    shape = (n, policy.count)
    operations = torch.randint(len(OPERATIONS), shape, generator=generator)
    levels = torch.randint(LEVELS, shape, generator=generator)
    if policy.level is not None:
        levels = torch.full(shape, policy.level)
    signs = 1 - 2 * torch.randint(2, shape, generator=generator)
    return torch.stack([operations, levels * signs], 2)


def apply(images: Tensor, drawn: Tensor, policy: Policy) -> Tensor:
    """New images (N, H, W, C) uint8, of one or three channels, with the operations `drawn` (N, count, 2)."""
    functions, (height, width) = _functions(), images.shape[1:3]
    changed = images.movedim(3, 1).clone(memory_format=torch.contiguous_format)
    for chosen in drawn.unbind(1):
        for index, level in chosen.unique(dim=0).tolist():  # images with the same operation are changed at once
            name, members = OPERATIONS[index], (chosen == torch.tensor([index, level])).all(1).nonzero()[:, 0]
            if name != "identity":
                members = members.to(images.device)
                changed[members] = functions[name](changed[members], policy.magnitude(name, level, height, width))
    return changed.movedim(1, 3).contiguous()


@cache
def _functions() -> dict[str, Callable[[Tensor, float], Tensor]]:
    """The operations, each on images (N, C, H, W) uint8 with a magnitude."""
    from torchvision.transforms.v2 import functional  # takes seconds

    def shear(image: Tensor, x: float, y: float) -> Tensor:
        angles = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
        return functional.affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=angles, center=[0, 0])

    def translate(image: Tensor, x: float, y: float) -> Tensor:
        return functional.affine(image, angle=0.0, translate=[int(x), int(y)], scale=1.0, shear=[0.0, 0.0])

    return {
        "identity": lambda image, _: image,
        "shear_x": lambda image, tangent: shear(image, tangent, 0.0),
        "shear_y": lambda image, tangent: shear(image, 0.0, tangent),
        "translate_x": lambda image, pixels: translate(image, pixels, 0.0),
        "translate_y": lambda image, pixels: translate(image, 0.0, pixels),
        "rotate": lambda image, degrees: functional.rotate(image, degrees),
        "brightness": lambda image, change: functional.adjust_brightness(image, 1 + change),
        "saturation": lambda image, change: functional.adjust_saturation(image, 1 + change),
        "contrast": lambda image, change: functional.adjust_contrast(image, 1 + change),
        "sharpness": lambda image, change: functional.adjust_sharpness(image, 1 + change),
        "posterize": lambda image, bits: functional.posterize(image, round(bits)),
        "solarize": lambda image, threshold: functional.solarize(image, 255 * threshold),
        "autocontrast": lambda image, _: functional.autocontrast(image),
        "equalize": lambda image, _: functional.equalize(image),
    }
