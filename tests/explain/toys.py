"""Test helper: networks whose attribution maps are known, and probabilities."""

import numpy as np
import torch
from torch import Tensor, nn

UNSCALED = ((0.0,), (1.0,))  # mean and standard deviation that leave pixels on the scale 0..1


class Spot(nn.Module):
    """Two classes. The second is predicted if the pixel at row 5, column 2 is bright; the others do not matter."""

    def __init__(self):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(1000.0))

    def forward(self, images: Tensor) -> Tensor:
        brightness = self.sharpness * (images[:, 0, 5, 2] - 0.5)
        return torch.stack([-brightness, brightness], 1)


class Square(nn.Module):
    """One class, whose logit is the square of the sum of the pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.sum((2, 3)) ** 2


def pooled() -> nn.Module:
    """A convolution whose channels are the image and its negative, ReLU, the mean of each channel, a linear layer."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, bias=False)
    )
    network[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    network[4].weight.data = torch.tensor([[2.0, -1.0], [0.0, 3.0]])
    return network


def spots() -> np.ndarray:
    """Two black images; the pixel at row 5, column 2 is white."""
    images = np.zeros((2, 14, 14, 1), np.uint8)
    images[:, 5, 2] = 255
    return images


def noise(count: int = 3, channels: int = 1) -> np.ndarray:
    """Random images (count, 14, 14, channels) uint8."""
    return np.random.default_rng(0).integers(0, 256, (count, 14, 14, channels), dtype=np.uint8)


def probabilities(confidence: list[float], predicted: list[int]) -> np.ndarray:
    """Probabilities (N, 3) of three classes with these predictions and their confidence."""
    others = (1 - np.array(confidence)) / 2
    table = np.repeat(others[:, None], 3, axis=1)
    table[np.arange(len(predicted)), predicted] = confidence
    return table
