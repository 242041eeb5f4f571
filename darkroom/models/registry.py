"""Networks, one family a file.

Every network takes normalised pictures (N, C, H, W) float32 of one size and gives logits (N, classes). Its last layer is
called `head`, so that optimisers and fine-tuning can tell it from the rest. A network whose first filters are fitted to
the data, not learned, has a method `fit_stem(images)` that is called once, before training.

Beside the families, `torchvision/<name>` is any classification model of torchvision's.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.models.cnn import Cnn
from darkroom.models.lstm import Lstm
from darkroom.models.resnet import Resnet
from darkroom.models.sprint import Sprint
from darkroom.models.torchvision_models import adapt
from darkroom.models.vit import Vit
from darkroom.models.wide_resnet import WideResnet

FAMILIES = {
    "cnn": Cnn,
    "sprint": Sprint,
    "resnet": Resnet,
    "wide_resnet": WideResnet,
    "lstm": Lstm,
    "vit": Vit,
    "torchvision": adapt,
}


def build(name: str, arguments: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A fresh network of the family `name`, or torchvision's, for pictures of `shape` (height, width, channels).

    Its weights are drawn from PyTorch's global generator. Raises DarkroomError where pictures are too small for it, or
    torchvision does not have it.
    """
    try:
        return FAMILIES[name](shape, classes, **arguments)
    except ValueError as error:
        raise DarkroomError(
            f"model.name = {name!r} cannot take pictures of {shape[0]} x {shape[1]}: {error}; choose another model."
        ) from None
