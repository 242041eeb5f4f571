"""Images and altered copies of them."""

import numpy as np


def make_images(count: int, side: int = 28, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Smooth random images (count, side, side, channels) uint8 with uniform edges."""
    waves = np.random.default_rng(seed).normal(size=(count, 5, 5, channels))
    basis = np.sin(np.pi * np.outer(np.arange(1, 6), np.arange(side) + 0.5) / side)
    smooth = np.einsum("nabc,ah,bw->nhwc", waves, basis, basis)
    return np.clip(128 + 60 * smooth, 0, 255).astype(np.uint8)


def shifted(images: np.ndarray, down: int, right: int) -> np.ndarray:
    """The images, moved with what leaves at one edge entering at the other."""
    return np.roll(images, (down, right), axis=(1, 2))
