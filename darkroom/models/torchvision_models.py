"""torchvision's classification models, adapted to any image size and number of channels.

torchvision's documentation names the paper of each model. The initial weights are random, never downloaded.
"""

from typing import Any

from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import did_you_mean
from darkroom.models.fitting import require_fit

SMALL = 64  # images with a side below this many pixels get a stem that keeps their size
PATCH = 4  # pixels per side of a Vision Transformer's patch for small images
INCEPTIONS = ("googlenet", "inception_v3")  # with auxiliary classifiers
POSITIONS = "encoder.pos_embedding"  # of Vision Transformers
REMOVED = ("aux1", "aux2", "AuxLogits")


def adapt(shape: tuple[int, ...], classes: int, architecture: str) -> nn.Module:
    """Build torchvision's `architecture` for images of `shape` (height, width, channels).

    For small images the first convolution becomes 3 x 3 with stride 1 and the first pooling is removed, as is usual for
    residual networks on CIFAR-10; a Vision Transformer gets patches of 4 x 4. The attribute `last_layer_name` names
    its last layer, `adapted` the layers that differ from torchvision's, `position_grids` the position embeddings, with
    the rows and columns of patches. Raises DarkroomError if torchvision has no such model, and ValueError if the image
    size does not fit it.
    """
    import torchvision  # takes 3 s, so only when needed

    _require_known(architecture)
    height, width, channels = shape
    small = min(height, width) < SMALL
    network = torchvision.models.get_model(architecture, weights=None, **_options(architecture, shape, small))
    stem = _stem(network)
    is_transformer = architecture.startswith("vit_")
    if is_transformer:
        network.image_size, network.patch_size = height, PATCH if small else network.patch_size
        network.position_grids = {POSITIONS: (height // network.patch_size, width // network.patch_size)}
    _adapt_stem(network, stem, channels, small, is_transformer)
    network.adapted = (stem, _adapt_head(network, classes), *REMOVED)
    require_fit(network, shape, classes)
    return network


def published(architecture: str, channels: int) -> nn.Module:
    """The network as torchvision defines it, for ImageNet but any number of channels, with random weights.

    The attribute `last_layer_name` names its last layer. Raises DarkroomError if torchvision has no such model.
    """
    import torchvision

    _require_known(architecture)
    # Two models warn unless told how to draw weights, which the published ones replace.
    options = {"init_weights": False} if architecture in INCEPTIONS else {}
    network = torchvision.models.get_model(architecture, weights=None, **options)
    network.last_layer_name = _last_linear(network) or "classifier.1"  # SqueezeNet's is a convolution
    if channels != 3:
        _adapt_stem(network, _stem(network), channels, small=False, is_transformer=False)
    return network


def _require_known(architecture: str) -> None:
    import torchvision

    known = torchvision.models.list_models(torchvision.models)
    if architecture not in known:
        hint = did_you_mean(architecture, known, listed=False) or "its documentation lists them."
        raise DarkroomError(
            f"model.torchvision.architecture = {architecture!r} is not a torchvision classification model; {hint}"
        )


def _options(architecture: str, shape: tuple[int, ...], small: bool) -> dict[str, Any]:
    """Arguments for torchvision's builder that differ from its defaults."""
    height, width, _ = shape
    if architecture in INCEPTIONS:
        return {"aux_logits": False, "init_weights": True}  # a single output, as of all other models
    is_transformer, multiple = architecture.startswith("vit_"), 1
    if is_transformer:
        patch = int(architecture.rsplit("_", 1)[1])
        multiple = PATCH if small else patch
    elif architecture.startswith("maxvit"):
        multiple = 224  # windows of 7, after halving the size five times
    if height % multiple or width % multiple or (is_transformer and height != width):
        raise ValueError(f"it needs {'equal ' if is_transformer else ''}sides that are multiples of {multiple}")
    if is_transformer:
        return {"image_size": height // multiple * patch}  # gives the final number of patches
    return {"input_size": (height, width)} if architecture.startswith("maxvit") else {}


def _adapt_head(network: nn.Module, classes: int) -> str:
    """Replace the last layer by one for `classes`, name it, and return the name of what was replaced."""
    if name := _last_linear(network):
        network.set_submodule(name, nn.Linear(network.get_submodule(name).in_features, classes))
        network.last_layer_name = name
    else:  # SqueezeNet, whose last layer is a convolution
        name, inputs = "classifier", network.classifier[1].in_channels
        head = nn.Linear(inputs, classes)
        network.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.classifier[0], head)
        network.last_layer_name = "classifier.3"
    return name


def _last_linear(network: nn.Module) -> str | None:
    names = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    return names[-1] if names else None


def _stem(network: nn.Module) -> str:
    """The name of the first convolution."""
    return next(name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))


def _adapt_stem(network: nn.Module, name: str, channels: int, small: bool, is_transformer: bool) -> None:
    old = network.get_submodule(name)
    kernel, stride, padding = old.kernel_size, old.stride, old.padding
    if small:
        kernel, stride, padding = (PATCH, PATCH, 0) if is_transformer else (3, 1, 1)
        pooling = next((name for name, layer in network.named_modules() if isinstance(layer, nn.MaxPool2d)), None)
        if pooling:
            network.set_submodule(pooling, nn.Identity())
    network.set_submodule(
        name, nn.Conv2d(channels, old.out_channels, kernel, stride, padding, bias=old.bias is not None)
    )
