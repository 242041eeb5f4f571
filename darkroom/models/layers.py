"""Layers that several network families share."""

import math

import torch
from torch import Tensor, nn

MAX_PATCHES = 2_000 * 30 * 30  # to which a whitening stem is fitted: all of 2,000 images of 32 x 32


class WhiteningConv(nn.Conv2d):
    """A frozen 3 x 3 convolution whose filters are computed from the data instead of learned.

    Half of its filters are the leading principal components of the training images' patches, scaled to equal variance;
    the other half are their negatives. It needs no backward pass, which is the most expensive one of a small network.
    Page, "How to train your ResNet", 2019; with negatives: Jordan, "94% on CIFAR-10 in 3.29 seconds", 2024.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)
        if out_channels % 2 or out_channels // 2 > 9 * in_channels:
            raise ValueError(
                f"a whitening convolution of {out_channels} channels needs an even number of at most {18 * in_channels}"
            )
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def fit(self, images: Tensor, epsilon: float = 1e-2) -> None:
        """Compute the filters from normalised images (N, C, H, W) float32; a few thousand are enough.

        Uses all patches, or about MAX_PATCHES on a regular grid: the memory does not grow with the size of the images.
        """
        size = self.in_channels * 9
        images = images.cpu()  # an Apple GPU has no float64
        n, _, height, width = images.shape
        step = math.ceil(math.sqrt(n * (height - 2) * (width - 2) / MAX_PATCHES))
        patches = images.unfold(2, 3, step).unfold(3, 3, step).permute(0, 2, 3, 1, 4, 5).reshape(-1, size).double()
        patches -= patches.mean(0)
        variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
        leading = torch.arange(size - 1, size - 1 - self.out_channels // 2, -1)
        filters = (components[:, leading] / (variances[leading] + epsilon).sqrt()).T
        filters *= filters.gather(1, filters.abs().argmax(1, keepdim=True)).sign()  # an eigenvector's sign is arbitrary
        self.weight.copy_(torch.cat([filters, -filters]).reshape(self.weight.shape))


class MaxPool(nn.MaxPool2d):
    """2 x 2 max pooling, two to three times as fast as PyTorch's on a CPU where no gradient is needed.

    PyTorch's kernel stores the index of each maximum in 8 bytes, for the backward pass. The outputs are the same.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to (N, C, H // 2, W // 2)."""
        needs_gradient = images.requires_grad and torch.is_grad_enabled()
        if needs_gradient or images.device.type != "cpu" or torch.compiler.is_exporting():  # one node in the graph
            return super().forward(images)
        rows = torch.maximum(images[..., :-1:2], images[..., 1::2])
        return torch.maximum(rows[..., :-1:2, :], rows[..., 1::2, :])


def convolution(in_channels: int, out_channels: int, pool: bool = False) -> nn.Sequential:
    """A 3 x 3 convolution that keeps the size, optionally 2 x 2 max pooling, batch norm and ReLU."""
    pooling = [MaxPool()] if pool else []  # before batch norm, which then works on a quarter of the pixels
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        *pooling,
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def last_layer(network: nn.Module) -> nn.Module:
    """The layer of a network of the registry that turns features into logits."""
    return network.get_submodule(last_layer_name(network))


def last_layer_name(network: nn.Module) -> str:
    """The name of that layer, which starts the names of its parameters."""
    return getattr(network, "last_layer_name", "head")
