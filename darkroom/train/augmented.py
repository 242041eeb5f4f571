"""A sheet of training images as the network sees them: people should look at the augmentation that they chose."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from darkroom.core.outputs import new_file
from darkroom.train.batches import Batches

COLUMNS, ROWS, SIDE, GAP = 8, 4, 96, 2  # images across and down, and pixels of an image (about) and between two


def write(path: str | Path, batches: Batches) -> None:
    """Write the first images of the first batch as a PNG file, atomically; nothing if the inputs are not images."""
    if batches.manifest.kind != "image" or len(batches.manifest.shape) != 3:  # features of images have one axis
        return
    images = _denormalised(next(batches.epoch(0, 0, 1)).inputs[: COLUMNS * ROWS], batches)
    count, height, width, channels = images.shape
    scale = SIDE / max(height, width)
    scale = math.ceil(scale) if scale > 1 else scale  # small images are enlarged to whole pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    step_x, step_y = size[0] + GAP, size[1] + GAP
    rows, columns = math.ceil(count / COLUMNS), min(count, COLUMNS)
    sheet = Image.new("RGB", (columns * step_x - GAP, rows * step_y - GAP), "white")
    for number, image in enumerate(images):
        method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
        shown = Image.fromarray(image.squeeze(2) if channels == 1 else image).resize(size, method)
        sheet.paste(shown, (number % COLUMNS * step_x, number // COLUMNS * step_y))
    with new_file(path) as temporary:
        sheet.save(temporary, "PNG", optimize=True)


def _denormalised(inputs: torch.Tensor, batches: Batches) -> np.ndarray:
    """Images (N, H, W, C) uint8 of inputs (N, C, H, W) float32: the reverse of `normalise`."""
    mean, std = (torch.tensor(values) for values in (batches.manifest.mean, batches.manifest.std))
    scaled = inputs.cpu().movedim(1, 3) * torch.where(std > 0, std, 1.0) + mean
    return (255 * scaled).round().clamp(0, 255).to(torch.uint8).numpy()
