"""Random changes of brightness, contrast and saturation of whole batches of images, on the device.

The operations are those of torchvision's ColorJitter, which takes one image at a time. Each takes images (N, H, W, C)
uint8 of one or three channels and factors (N,) float32, of which 1 changes nothing, and returns new images uint8.
"""

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # red, green and blue in the brightness that people see: ITU-R BT.601


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Scale all values; factor 0 is black."""
    return _blend(images, torch.zeros((), device=images.device), factors)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the distance to the mean brightness of each image; factor 0 is an even grey."""
    _, height, width, _ = images.shape
    mean = _grey(images).sum((1, 2, 3), dtype=torch.int64) / (height * width)  # the same in any order of summation
    return _blend(images, mean[:, None, None, None], factors)


def saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the distance of each pixel to its own brightness; factor 0 is grey. Images of one channel stay the same."""
    return images if images.shape[3] == 1 else _blend(images, _grey(images), factors)


OPERATIONS = (brightness, contrast, saturation)


def random_factors(n: int, strength: float, generator: torch.Generator) -> Tensor:
    """A factor (N, 3) float32 of each operation, uniform from 1 - `strength` to 1 + `strength`."""
    return 1 + (2 * torch.rand(n, len(OPERATIONS), generator=generator) - 1) * strength


def jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Apply all operations with `factors` (N, 3), in the `order` (3,) int64 of their indices."""
    for index in order.tolist():
        images = OPERATIONS[index](images, factors[:, index])
    return images


def _grey(images: Tensor) -> Tensor:
    """The brightness (N, H, W, 1) float32 of each pixel, a whole number."""
    if images.shape[3] == 1:
        return images.float()
    red, green, blue = images.float().split(1, 3)
    return red.mul(GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2]).floor_()


def _blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    factors = factors[:, None, None, None]
    return (images * factors).add_(others * (1 - factors)).clamp_(0, 255).to(torch.uint8)
