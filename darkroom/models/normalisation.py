"""Images as the network takes them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pictures (N, H, W, C) uint8 as the network's input (N, C, H, W) float32, with mean 0 and deviation 1 by channel.

    `mean` and `std` are on the scale 0..1. A channel that never varies is only centred. The result keeps the memory
    order of the input, which is PyTorch's channels_last: convolutions on a CPU are fastest there.
    """
    scale = torch.tensor([1 / (255 * (s or 1)) for s in std], dtype=torch.float32, device=images.device)
    offset = torch.tensor(
        [-m / (s or 1) for m, s in zip(mean, std, strict=True)], dtype=torch.float32, device=images.device
    )
    return torch.addcmul(offset, images.float(), scale).permute(0, 3, 1, 2)
