"""The network families, by the name that `model.name` selects.

Every network takes normalised inputs (N, C, ...) float32 of one shape, for images (N, C, H, W), and returns logits
(N, classes). Its last layer is called `head`; an adapted network of a library names its own in the attribute
`last_layer_name`, so that optimisers and fine-tuning can tell it from the rest (`layers.last_layer`). A network whose
first filters are computed from the data has a method `fit_stem(inputs)`, called once before training. A network that
adds position embeddings (1, tokens, features) names them in `position_grids`, with the rows and columns of its patches,
so that pretrained ones can be resampled (`darkroom.weights.positions`).
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.models import timm_models, torchvision_models
from darkroom.models.cnn import Cnn
from darkroom.models.lstm import Lstm
from darkroom.models.resnet import Resnet
from darkroom.models.sprint import Sprint
from darkroom.models.vit import Vit
from darkroom.models.wide_resnet import WideResnet

FAMILIES = {
    "cnn": Cnn,
    "sprint": Sprint,
    "resnet": Resnet,
    "wide_resnet": WideResnet,
    "lstm": Lstm,
    "vit": Vit,
    "torchvision": torchvision_models.adapt,
    "timm": timm_models.adapt,
}
LIBRARIES = {"torchvision": torchvision_models.published, "timm": timm_models.published}  # families of many networks


def build(name: str, arguments: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a network of the family `name` for inputs of `shape`, channels last: (height, width, channels) for images.

    Draws the initial weights from PyTorch's global generator. Raises DarkroomError if the family cannot take inputs of
    this shape, for example because images are too small.
    """
    try:
        return FAMILIES[name](shape, classes, **arguments)
    except ValueError as error:
        size = " x ".join(map(str, shape))
        raise DarkroomError(
            f"model.name = {name!r} cannot take inputs of {size}: {error}; use another model or preprocess.image_size."
        ) from None


def published(name: str, architecture: str, channels: int) -> nn.Module:
    """A network of LIBRARIES as its publisher defines it, for images of so many channels, with random weights.

    The attribute `last_layer_name` names its last layer. Raises DarkroomError if the library has no such architecture.
    """
    return LIBRARIES[name](architecture, channels)
