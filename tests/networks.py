"""Small networks of every family, for tests."""

import torch
from torch import nn

from darkroom.models.registry import LIBRARIES, OF_IMAGES, build

SMALL = {
    "cnn": {"channels": 4, "hidden_units": 8, "dropout": 0.0},
    "sprint": {"channels": 4, "dropout": 0.0},
    "resnet": {"channels": 4, "dropout": 0.0},
    "wide_resnet": {"widen_factor": 1, "depth": 10, "dropout": 0.0},
    "lstm": {"hidden_size": 4, "layers": 2, "dropout": 0.0},
    "vit": {"embed_dim": 8, "depth": 1, "heads": 2, "mlp_ratio": 2.0, "dropout": 0.0},
    "torchvision": {"architecture": "shufflenet_v2_x0_5"},
    "timm": {"architecture": "test_resnet"},
}
OWN = [name for name in OF_IMAGES if name not in LIBRARIES]  # our own networks of images


def small(name: str, shape: tuple[int, ...], classes: int = 3, seed: int = 0, **arguments: object) -> nn.Module:
    """A small network of the family `name` with random weights."""
    torch.manual_seed(seed)
    return build(name, SMALL[name] | arguments, shape, classes)
