"""A small trained network and its ONNX file, for tests."""

import numpy as np
import torch
from torch import nn

from darkroom.export.graph import contents, to_onnx
from darkroom.inputs.config import ImageConfig
from darkroom.models import checkpoints, registry

CLASSES = ("round", "square", "Ähnlich")
SHAPE = (11, 9, 1)


def trained(name="sprint", shape=SHAPE, std=0.3, arguments=None) -> tuple[nn.Module, checkpoints.Description]:
    """A network with random weights and batch norms that have seen data, and its description."""
    arguments = {"channels": 4, "dropout": 0.0} if arguments is None else arguments
    torch.manual_seed(1)
    network = registry.build(name, arguments, shape, len(CLASSES))
    network(torch.randn(16, shape[2], *shape[:2]))  # in training mode: changes the running statistics
    with torch.no_grad():
        network.head.weight *= 30  # so that logits depend on the image as much as a trained network's
    described = checkpoints.Description(
        name,
        arguments,
        "toys",
        "Toys of wood",
        "CC0-1.0",
        CLASSES,
        shape,
        (0.4,) * shape[2],
        (std,) * shape[2],
        "f" * 64,
        {"lr": 0.1},
    )
    return network.eval(), described


def images(n: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Random images (n, *shape) uint8."""
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


def exported(
    network: nn.Module,
    described: checkpoints.Description,
    temperature: float = 0.5,
    threshold: float | None = 0.75,
    resize: str = "stretch",
    denoise: str = "none",
    opset: int = 20,
) -> bytes:
    """The contents of the ONNX file of `network`."""
    graph = to_onnx(network, described, temperature, opset)
    return contents(graph, described, temperature, threshold, preprocessing(resize=resize, denoise=denoise))


def preprocessing(**changes: object) -> ImageConfig:
    """How images are preprocessed."""
    fields = {"resize": "stretch", "interpolation": "bilinear", "crop_fraction": 1.0, "denoise": "none"}
    return ImageConfig(**fields | {"max_pixels": 1000} | changes)
