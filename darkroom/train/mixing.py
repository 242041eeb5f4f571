"""Mixup and CutMix: blend the examples of a batch, and their labels, with others of the same batch."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Mixing(NamedTuple):
    """How a batch is blended: one method and one weight for all of its examples."""

    method: str  # mixup | cutmix
    weight: float  # of the examples themselves
    partners: Tensor  # (N,) int64: the example that each is blended with
    centre: tuple[float, float]  # (x, y) of CutMix's box, from 0 to 1


def draw(n: int, mixup_alpha: float, cutmix_alpha: float, random: np.random.Generator) -> Mixing | None:
    """How to blend `n` examples, by one of the methods whose alpha of the Beta distribution is not 0; None if none is.

    Each example is the partner of one other.
    """
    methods = [(name, alpha) for name, alpha in (("mixup", mixup_alpha), ("cutmix", cutmix_alpha)) if alpha]
    if not methods:
        return None
    method, alpha = methods[random.integers(len(methods))]
    weight = random.beta(alpha, alpha)
    partners = torch.from_numpy(random.permutation(n))
    x, y = random.random(2)
    return Mixing(method, weight, partners, (x, y))


def mix(mixing: Mixing, images: Tensor, others: Tensor) -> tuple[Tensor, float]:
    """Images (N, C, H, W) float32, blended with their partners `others`, and the weight of their own labels."""
    if mixing.method == "mixup":
        return mixup(images, others, mixing.weight), mixing.weight
    return cutmix(images, others, mixing.weight, *mixing.centre)


def mixup(images: Tensor, others: Tensor, weight: float) -> Tensor:
    """Blend images (N, C, H, W) float32 with `others` of the same shape: `weight` is the images' own.

    Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
    """
    return weight * images + (1 - weight) * others


def cutmix(images: Tensor, others: Tensor, weight: float, x: float, y: float) -> tuple[Tensor, float]:
    """Paste one box of `others` (N, C, H, W) float32 into images of the same shape.

    The box has about 1 - `weight` of the area and the aspect ratio of the image; `x` and `y`, from 0 to 1, place its
    centre, and the image's edges clip it. Returns the images and the fraction of their own pixels that is left. Yun et
    al., "CutMix", ICCV 2019.
    """
    height, width = images.shape[2:]
    side = (1 - weight) ** 0.5
    top, bottom = (min(max(round(y * height + half * side * height / 2), 0), height) for half in (-1, 1))
    left, right = (min(max(round(x * width + half * side * width / 2), 0), width) for half in (-1, 1))
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
