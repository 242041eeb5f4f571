"""Resize an image to the input of a network, in the same way before training and before a prediction.

The image is first resized to more pixels, of which the network sees the centre: the input's sides divided by
`crop_fraction`. The exported model does the same inside its graph, see darkroom/export/resizing.py.
"""

import math
from typing import Literal

import numpy as np
from PIL import Image

from darkroom.core.cropping import centre

Resize = Literal["stretch", "crop", "pad"]
Interpolation = Literal["bilinear", "bicubic"]


def uncropped(size: tuple[int, int], crop_fraction: float) -> tuple[int, int]:
    """Height and width of an image whose centre of `size` (height, width) is `crop_fraction` of its sides.

    Rounded down, as by timm: 224 at 0.875 gives 256.
    """
    height, width = (math.floor(side / crop_fraction) for side in size)
    return height, width


def seen(images: np.ndarray, size: tuple[int, int], resize: Resize, crop_fraction: float) -> tuple[np.ndarray, float]:
    """What a network with inputs of `size` (height, width) sees of images (N, h, w, C), to whole pixels, as a view.

    And the fraction of its input that they cover; black bars are the rest.
    """
    own = images.shape[1:3]
    if own == tuple(size):
        return images, 1.0
    scales = [whole / side for whole, side in zip(uncropped(size, crop_fraction), own, strict=True)]
    if resize != "stretch":
        scales = [max(scales) if resize == "crop" else min(scales)] * 2
    resized = [side * scale for side, scale in zip(own, scales, strict=True)]
    shares = [wanted / whole for wanted, whole in zip(size, resized, strict=True)]
    height, width = (max(1, round(side * min(1, share))) for side, share in zip(own, shares, strict=True))
    return centre(images, (height, width)), math.prod(min(1, 1 / share) for share in shares)


def pixels(
    original: Image.Image, size: tuple[int, int], channels: Literal[1, 3], resize: Resize, interpolation: Interpolation
) -> np.ndarray:
    """The pixels (H, W, C) uint8 of an image in mode L or RGB, resized to `size` (height, width); see `fit`."""
    fitted = fit(original, size, resize, interpolation)
    return np.array(fitted.convert("L" if channels == 1 else "RGB")).reshape(*size, channels)


def fit(original: Image.Image, size: tuple[int, int], resize: Resize, interpolation: Interpolation) -> Image.Image:
    """Resize an image, grey or RGB, to `size` (height, width), antialiased.

    stretch: resize each side independently. crop: use the largest centred part with the aspect ratio of `size`. pad:
    keep the whole image and its aspect ratio, at least one pixel wide and high, centred on black.
    """
    height, width = size
    if original.size == (width, height):
        return original
    match resize:
        case "stretch":
            return _scaled(original, size, interpolation, original.size)
        case "crop":
            ratio, own_ratio = width / height, original.width / original.height
            part = original.size
            if own_ratio > ratio:
                part = ratio * original.height, original.height
            elif own_ratio < ratio:
                part = original.width, original.width / ratio
            return _scaled(original, size, interpolation, part)
        case "pad":
            inner_width = min(width, max(1, round(original.width / original.height * height)))
            inner_height = min(height, max(1, round(original.height / original.width * width)))
            padded = Image.new(original.mode, (width, height))  # ImageOps.pad loses an image thinner than one pixel
            inner = _scaled(original, (inner_height, inner_width), interpolation, original.size)
            padded.paste(inner, (round((width - inner_width) / 2), round((height - inner_height) / 2)))
            return padded


def _scaled(
    original: Image.Image, size: tuple[int, int], interpolation: Interpolation, part: tuple[float, float]
) -> Image.Image:
    """Resize the centre of an image, of width and height `part`, to `size` (height, width)."""
    height, width = size
    left, top = (original.width - part[0]) / 2, (original.height - part[1]) / 2
    right, bottom = left + part[0], top + part[1]
    if interpolation == "bilinear":
        return original.resize((width, height), Image.Resampling.BILINEAR, (left, top, right, bottom))
    # Bicubic weights may be negative, and each pass clips. So the order of the passes matters, which depends on the
    # version of Pillow; the exported model begins with the width.
    narrow = original.resize((width, original.height), Image.Resampling.BICUBIC, (left, 0, right, original.height))
    return narrow.resize((width, height), Image.Resampling.BICUBIC, (0, top, width, bottom))
