"""Layers that several families share."""

import torch
from torch import Tensor, nn


class WhiteningConv(nn.Conv2d):
    """A frozen 3 x 3 convolution that is computed from the data instead of learned.

    Half of its channels are the leading principal components of the training pictures' patches, scaled to equal variance,
    the other half their negatives. Nothing flows back through it, which saves the costliest backward pass of a small
    network. Page, "How to train your ResNet", 2019; with negatives: Jordan, "94% on CIFAR-10 in 3.29 seconds", 2024.
    """

    def __init__(self, channels: int, width: int):
        super().__init__(channels, width, 3, padding=1, bias=False)
        if width % 2 or width // 2 > 9 * channels:
            raise ValueError(f"a whitening stem of {width} channels needs an even number of at most {18 * channels}")
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def fit(self, images: Tensor, epsilon: float = 1e-2) -> None:
        """Sets the filters from normalised pictures (N, C, H, W) float32; a few thousand are enough."""
        size = self.in_channels * 9
        images = images.cpu()  # an Apple GPU has no float64
        patches = images.unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, size).double()
        patches = patches - patches.mean(0)
        variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
        leading = torch.arange(size - 1, size - 1 - self.out_channels // 2, -1)
        filters = (components[:, leading] / (variances[leading] + epsilon).sqrt()).T
        filters *= filters.gather(1, filters.abs().argmax(1, keepdim=True)).sign()  # eigenvectors have no sign: fix one
        self.weight.copy_(torch.cat([filters, -filters]).reshape(self.weight.shape))


def convolution(inputs: int, outputs: int, pool: bool = False) -> nn.Sequential:
    """A 3 x 3 convolution that keeps the size, pooled to half of it if asked, with batch norm and ReLU."""
    pooling = [nn.MaxPool2d(2)] if pool else []  # before the norm, which then has a quarter of the pixels to work on
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pooling, nn.BatchNorm2d(outputs), nn.ReLU()
    )
