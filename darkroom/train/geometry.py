"""Flips, shifts, crops and erased boxes of whole batches of images, on the device."""

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Mirror those of the images (N, H, W, C) left to right for which `flipped` (N,) bool is true."""
    return torch.where(flipped[:, None, None, None], images.flip(2), images)


def first_flips(n: int, generator: torch.Generator) -> Tensor:
    """Which of `n` images, a random half, are mirrored in the first epoch: (n,) bool.

    Those of the first images do not depend on `n`. If each is mirrored in every other epoch from then on, it alternates
    between both orientations: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024.
    """
    return torch.rand(n, generator=generator) < 0.5


def shift(images: Tensor, offsets: Tensor, reach: int) -> Tensor:
    """Move images (N, H, W, C) by `offsets` (N, 2) int64, (dy, dx) pixels each, at most `reach`; fill with black."""
    n, height, width, _ = images.shape
    padded = pad(images, (0, 0, reach, reach, reach, reach))
    rows = torch.arange(height, device=images.device) + reach - offsets[:, :1]
    columns = torch.arange(width, device=images.device) + reach - offsets[:, 1:]
    return padded[torch.arange(n, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def erase(images: Tensor, boxes: Tensor, fill: Tensor) -> Tensor:
    """Fill one box of each image (N, H, W, C) with the colour `fill` (C,) uint8.

    `boxes` (N, 4) int64 holds top, left, bottom, right; a box of height 0 erases nothing. Zhong et al., "Random erasing
    data augmentation", AAAI 2020.
    """
    _, height, width, _ = images.shape
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    inside_rows = (rows >= boxes[:, :1]) & (rows < boxes[:, 2:3])
    inside_columns = (columns >= boxes[:, 1:2]) & (columns < boxes[:, 3:])
    return torch.where((inside_rows[:, :, None] & inside_columns[:, None, :])[..., None], fill, images)


def random_boxes(n: int, height: int, width: int, probability: float, generator: torch.Generator) -> Tensor:
    """Boxes (N, 4) int64 for `erase`, each with `probability`: 2 to 33 % of the area, aspect ratio 0.3 to 3.3."""
    area = (0.02 + 0.31 * torch.rand(n, generator=generator)) * height * width
    aspect = torch.exp((2 * torch.rand(n, generator=generator) - 1) * 1.194)  # log-uniform: ln 3.3 = 1.194
    box_height = (area * aspect).sqrt().round().clamp(1, height).long()
    box_height *= torch.rand(n, generator=generator) < probability
    box_width = (area / aspect).sqrt().round().clamp(1, width).long()
    top = (torch.rand(n, generator=generator) * (height - box_height + 1)).long()
    left = (torch.rand(n, generator=generator) * (width - box_width + 1)).long()
    return torch.stack([top, left, top + box_height, left + box_width], 1)


def crop(images: Tensor, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize one window of each image (N, H', W', C) uint8 to `size` = (H, W): (N, H, W, C) uint8.

    `windows` (N, 4) int64 holds top, left, height, width in pixels. The interpolation is bilinear, with antialiasing if
    a window is larger than `size`. On a CPU this is PyTorch's fast path for uint8, which GPUs lack.
    """
    if not len(windows):
        return images.new_empty(0, *size, images.shape[3])
    stored = images.movedim(3, 1)
    crops = []
    for number, (top, left, height, width) in enumerate(windows.tolist()):
        window = stored[number : number + 1, :, top : top + height, left : left + width]
        if images.is_cuda or images.is_mps:
            window = window.float()
        resized = interpolate(window, size, mode="bilinear", antialias=True)
        crops.append(resized if resized.dtype == images.dtype else resized.round().to(images.dtype))
    return torch.cat(crops).movedim(1, 3).contiguous()


def random_crops(
    n: int, size: tuple[int, int], min_area: float, max_aspect: float, generator: torch.Generator
) -> Tensor:
    """Windows (N, 4) int64 for `crop`, inside images of `size` = (H', W').

    The fraction of the area is uniform from `min_area` to 1. The ratio of width to height, relative to that of the
    image, is log-uniform from 1 / `max_aspect` to `max_aspect`, or in the range that fits into the image. Szegedy et
    al., "Going deeper with convolutions", CVPR 2015, who draw again if a crop does not fit.
    """
    area = min_area + (1 - min_area) * torch.rand(n, generator=generator)
    bound = torch.minimum(-area.log(), torch.tensor(math.log(max_aspect)))
    aspect = torch.exp((2 * torch.rand(n, generator=generator) - 1) * bound)
    sides = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], 1)
    whole = torch.tensor(size)
    sides = (sides * whole).round().long().clamp(min=torch.ones_like(whole), max=whole)
    corners = (torch.rand(n, 2, generator=generator) * (whole - sides + 1)).long()
    return torch.cat([corners, sides], 1)
