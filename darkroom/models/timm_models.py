"""timm's classification networks, adapted to the number of classes and channels.

timm's documentation names the paper of each network. The initial weights are random: `model.pretrained` brings others.
"""

import torch
from torch import Tensor, nn

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import did_you_mean


def adapt(shape: tuple[int, ...], classes: int, architecture: str) -> nn.Module:
    """Build timm's `architecture` for images of `shape` (height, width, channels).

    The attribute `last_layer_name` names its last layer, `adapted` the layers that depend on the classes. Raises
    DarkroomError if timm has no such network, and ValueError if the image size does not fit it.
    """
    height, width, channels = shape
    network = _create(architecture, height, width, num_classes=classes, in_chans=channels)
    head = network.get_classifier()
    if not isinstance(head, nn.Linear):
        raise DarkroomError(
            f"model.timm.architecture = {architecture!r} does not end in one linear layer: choose another network."
        )
    network.last_layer_name = next(name for name, layer in network.named_modules() if layer is head)
    network.adapted = (network.last_layer_name,)
    _require_fit(network, shape)
    return network


def published(architecture: str) -> dict[str, Tensor]:
    """The state dict of the network as timm defines it, for ImageNet, with random values."""
    return _create(architecture, 0, 0).state_dict()


def _create(architecture: str, height: int, width: int, **arguments: int) -> nn.Module:
    import timm  # takes 1 s, so only when needed

    if architecture not in timm.list_models():
        hint = did_you_mean(architecture, timm.list_models(), listed=False) or "its documentation lists them."
        raise DarkroomError(f"model.timm.architecture = {architecture!r} is not a network of timm; {hint}")
    if not height:
        return timm.create_model(architecture)
    try:
        return timm.create_model(architecture, img_size=(height, width), **arguments)
    except TypeError:  # a network that takes any size
        return timm.create_model(architecture, **arguments)
    except AssertionError as error:
        raise ValueError(str(error) or "the image size does not fit") from None


@torch.no_grad()
def _require_fit(network: nn.Module, shape: tuple[int, ...]) -> None:
    """Raise ValueError if the network cannot take an image of `shape`; else leave it in training mode."""
    height, width, channels = shape
    try:
        network.eval()(torch.zeros(1, channels, height, width))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"the size is too small, or not a multiple of the network's strides ({reason})") from None
    network.train()
