"""The centre of an image, which a network sees of it."""

import numpy as np


def centre(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The central `size` (height, width) pixels of images (N, H', W', C), as a view; placed as by torchvision."""
    height, width = size
    top, left = round((images.shape[1] - height) / 2), round((images.shape[2] - width) / 2)
    return images[:, top : top + height, left : left + width]
