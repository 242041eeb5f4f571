"""Convert image arrays for display."""

import numpy as np
from PIL import Image


def to_rgb(image: np.ndarray) -> np.ndarray:
    """The image (H, W, 1 or 3) uint8 with three channels: (H, W, 3) uint8."""
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def to_pil(image: np.ndarray) -> Image.Image:
    """The image (H, W, 1 or 3) uint8 as a Pillow image of mode L or RGB."""
    return Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
