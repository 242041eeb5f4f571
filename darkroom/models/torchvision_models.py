"""torchvision's classification models, adapted to pictures of any size and channel count.

The papers are named by torchvision's documentation of each model. Weights are always drawn, never downloaded.
"""

from typing import Any

import torch
from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import did_you_mean

SMALL = 64  # pictures with a side below it get a stem that keeps their size
PATCH = 4  # pixels of a Vision Transformer's patch there
ALSO = ("encoder.pos_embedding", "aux1", "aux2", "AuxLogits")  # depend on the size, or are left out


def adapt(shape: tuple[int, int, int], classes: int, architecture: str) -> nn.Module:
    """torchvision's model `name` for pictures of `shape` (height, width, channels), with its last layer as `head`.

    Where pictures are small, the first convolution becomes 3 x 3 with stride 1 and the first pooling is left out, as is
    usual for residual networks on CIFAR-10; a Vision Transformer gets patches of 4 x 4. The attribute `adapted` names the
    layers that differ from torchvision's. Raises DarkroomError where torchvision has no such model and ValueError where
    the pictures do not fit it.
    """
    import torchvision  # takes 3 s: only for those who ask for it

    known = torchvision.models.list_models(torchvision.models)
    if architecture not in known:
        hint = did_you_mean(architecture, known, listed=False) or "its documentation lists them."
        raise DarkroomError(
            f"model.torchvision.architecture = {architecture!r} is not a torchvision classifier; {hint}"
        )
    height, breadth, channels = shape
    small = min(height, breadth) < SMALL
    network = torchvision.models.get_model(architecture, weights=None, **_options(architecture, shape, small))
    stem = next(key for key, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    patches = architecture.startswith("vit_")
    if patches:
        network.image_size, network.patch_size = height, PATCH if small else network.patch_size
    _fit_stem(network, stem, channels, small, patches)
    network.adapted = (stem, _fit_head(network, classes), *ALSO)
    _try(network, shape)
    return network


def _options(name: str, shape: tuple[int, int, int], small: bool) -> dict[str, Any]:
    """What torchvision's builder of `name` must be told beside the defaults."""
    height, breadth, _ = shape
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}  # one answer, as all others give
    patches, multiple = name.startswith("vit_"), 1
    if patches:
        patch = int(name.rsplit("_", 1)[1])
        multiple = PATCH if small else patch
    elif name.startswith("maxvit"):
        multiple = 224  # windows of 7, after five times halving
    if height % multiple or breadth % multiple or (patches and height != breadth):
        raise ValueError(f"it needs {'equal ' if patches else ''}sides that are multiples of {multiple}")
    if patches:
        return {"image_size": height // multiple * patch}  # as many patches as there will be
    return {"input_size": (height, breadth)} if name.startswith("maxvit") else {}


def _fit_head(network: nn.Module, classes: int) -> str:
    """Replaces the last layer by one for `classes`, and returns the name of what was replaced."""
    names = [key for key, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if names:
        head, name = nn.Linear(network.get_submodule(names[-1]).in_features, classes), names[-1]
        network.set_submodule(name, head)
    else:  # SqueezeNet, whose last layer is a convolution
        name, inputs = "classifier", network.classifier[1].in_channels
        head = nn.Linear(inputs, classes)
        network.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.classifier[0], head)
    object.__setattr__(network, "head", head)  # a second name, which must not become a second entry of the weights
    return name


def _fit_stem(network: nn.Module, name: str, channels: int, small: bool, patches: bool) -> None:
    old = network.get_submodule(name)
    kernel, stride, padding = old.kernel_size, old.stride, old.padding
    if small:
        kernel, stride, padding = (PATCH, PATCH, 0) if patches else (3, 1, 1)
        pooling = next((key for key, layer in network.named_modules() if isinstance(layer, nn.MaxPool2d)), None)
        if pooling:
            network.set_submodule(pooling, nn.Identity())
    network.set_submodule(
        name, nn.Conv2d(channels, old.out_channels, kernel, stride, padding, bias=old.bias is not None)
    )


@torch.no_grad()
def _try(network: nn.Module, shape: tuple[int, int, int]) -> None:
    """Raises ValueError where the network cannot take a picture of `shape`."""
    height, breadth, channels = shape
    try:
        network.eval()(torch.zeros(1, channels, height, breadth))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"they are too small, or no multiple of what it divides them by ({str(error).splitlines()[0].rstrip('.')})"
        ) from None
    network.train()
