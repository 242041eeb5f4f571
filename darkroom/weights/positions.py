"""Resample the position embeddings of a Vision Transformer to the image size of another.

Dosovitskiy et al., "An image is worth 16 x 16 words", ICLR 2021, section 3.2. As timm does it: bicubic, with
antialiasing.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


def fitted(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The `weights` by name, with position embeddings of the size that `network` needs.

    The network's attribute `position_grids` names its embeddings (1, tokens, features), and the rows and columns of its
    patches. Those of a square image are resampled; others stay as they are.
    """
    fitting = dict(weights)
    for name, grid in getattr(network, "position_grids", {}).items():
        given, wanted = weights.get(name), network.get_parameter(name)
        if given is None or given.ndim != 3 or given.shape == wanted.shape or given.shape[2] != wanted.shape[2]:
            continue
        side = math.isqrt(given.shape[1])
        others = given.shape[1] - side**2  # tokens without a position, such as the class token: the first ones
        if others == wanted.shape[1] - math.prod(grid):
            fitting[name] = resample(given, others, grid)
    return fitting


def resample(embeddings: Tensor, others: int, grid: tuple[int, int]) -> Tensor:
    """Embeddings (1, others + side * side, features) for `grid` = (rows, columns): (1, others + rows * columns, ...).

    The first `others` tokens have no position, and stay as they are.
    """
    first, patches = embeddings[:, :others], embeddings[:, others:]
    side = math.isqrt(patches.shape[1])
    images = patches.unflatten(1, (side, side)).movedim(3, 1).float()
    resized = interpolate(images, grid, mode="bicubic", antialias=True).flatten(2).movedim(1, 2)
    return torch.cat([first, resized.to(embeddings.dtype)], 1)
