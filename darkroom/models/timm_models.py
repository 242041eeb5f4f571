"""timm's classification networks, adapted to the number of classes and channels.

timm's documentation names the paper of each network. The initial weights are random: `model.pretrained` brings others.
"""

from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import did_you_mean
from darkroom.models.fitting import FAILURES, misfit, require_fit


def adapt(shape: tuple[int, ...], classes: int, architecture: str) -> nn.Module:
    """Build timm's `architecture` for images of `shape` (height, width, channels).

    The attribute `last_layer_name` names its last layer, `adapted` the layers that depend on the classes, and
    `position_grids` the position embeddings, with the rows and columns of patches. Raises DarkroomError if timm has no
    such network, or none with a linear last layer, and ValueError if the image size does not fit it.
    """
    height, width, channels = shape
    try:
        network = _create_for_size(architecture, (height, width), num_classes=classes, in_chans=channels)
    except FAILURES as error:
        raise misfit(error) from None
    _require_whole_patches(network, shape)
    network.adapted = (network.last_layer_name,)
    network.position_grids = _position_grids(network)
    require_fit(network, shape, classes)
    return network


def published(architecture: str, channels: int) -> nn.Module:
    """The network as timm defines it, for ImageNet but any number of channels, with random weights.

    The attribute `last_layer_name` names its last layer. Raises DarkroomError like `adapt`.
    """
    return _create(architecture, in_chans=channels)


def _position_grids(network: nn.Module) -> dict[str, tuple[int, int]]:
    embeddings, grid = getattr(network, "pos_embed", None), getattr(network, "patch_embed", None)
    grid = getattr(grid, "grid_size", None)
    return {"pos_embed": grid} if isinstance(embeddings, nn.Parameter) and embeddings.ndim == 3 and grid else {}


def _require_whole_patches(network: nn.Module, shape: tuple[int, ...]) -> None:
    """Raise ValueError if a Transformer would ignore pixels: timm rounds the number of its patches down."""
    height, width, channels = shape
    for layer in network.modules():
        projection = getattr(layer, "proj", None)
        is_first = isinstance(projection, nn.Conv2d) and projection.in_channels == channels
        if not is_first or not hasattr(layer, "patch_size") or getattr(layer, "dynamic_img_pad", False):
            continue
        high, wide = projection.stride
        if projection.kernel_size == (high, wide) and (height % high or width % wide):  # patches do not overlap
            raise ValueError(f"its patches of {high} x {wide} pixels do not divide {height} x {width}")


def _create_for_size(architecture: str, size: tuple[int, int], **options: int) -> nn.Module:
    try:
        return _create(architecture, img_size=size, **options)
    except TypeError:  # a network that takes any size
        return _create(architecture, **options)


def _create(architecture: str, **options: int | tuple[int, int]) -> nn.Module:
    import timm  # takes 1 s, so only when needed

    if architecture not in timm.list_models():
        hint = did_you_mean(architecture, timm.list_models(), listed=False) or "its documentation lists them."
        raise DarkroomError(f"model.timm.architecture = {architecture!r} is not a network of timm; {hint}")
    network = timm.create_model(architecture, **options)
    last = network.get_classifier()
    if not isinstance(last, nn.Linear):
        raise DarkroomError(
            f"model.timm.architecture = {architecture!r} does not end in one linear layer: timm's get_classifier() "
            f"gives {type(last).__name__}, expected Linear; choose another network, such as resnet50."
        )
    network.last_layer_name = next(name for name, layer in network.named_modules() if layer is last)
    return network
