"""The network families, by the name that `model.name` selects.

Every network takes normalised inputs (N, C, ...) float32 of one shape, for images (N, C, H, W), or sequences (N, L)
int64 such as texts and histories, or rows of a table (N, C) float32, and returns logits (N, classes). Its last layer is
called `head`; an adapted network of a library names its own in the attribute `last_layer_name`, so that optimisers and
fine-tuning can tell it from the rest (`layers.last_layer`). A network whose first filters are computed from the data
has a method `fit_stem(inputs)`, called once before training with some of the inputs; one that measures all packed
inputs has `fit_inputs(inputs)`; one of histories has `fit_items(features)`. A network that adds position embeddings
(1, tokens, features) names them in `position_grids`, with the rows and columns of its patches, so that pretrained ones
can be resampled (`darkroom.weights.positions`).
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import plural
from darkroom.models import bert, lstm, timm_models, torchvision_models
from darkroom.models.cnn import Cnn
from darkroom.models.ft_transformer import FtTransformer
from darkroom.models.gru4rec import Gru4rec
from darkroom.models.mlp import Mlp
from darkroom.models.resnet import Resnet
from darkroom.models.sasrec import Sasrec
from darkroom.models.sprint import Sprint
from darkroom.models.tabm import TabM
from darkroom.models.text_cnn import TextCnn
from darkroom.models.transformer import Transformer
from darkroom.models.vit import Vit
from darkroom.models.wide_resnet import WideResnet

FAMILIES = {
    "cnn": Cnn,
    "sprint": Sprint,
    "resnet": Resnet,
    "wide_resnet": WideResnet,
    "lstm": lstm.build,
    "vit": Vit,
    "torchvision": torchvision_models.adapt,
    "timm": timm_models.adapt,
    "text_cnn": TextCnn,
    "transformer": Transformer,
    "bert": bert.Bert,
    "mlp": Mlp,
    "tabm": TabM,
    "ft_transformer": FtTransformer,
    "sasrec": Sasrec,
    "gru4rec": Gru4rec,
}
OF_TEXTS = ("text_cnn", "lstm", "transformer", "bert")
OF_TABLES = ("mlp", "tabm", "ft_transformer")
OF_HISTORIES = ("sasrec", "gru4rec")
OF_IMAGES = tuple(name for name in FAMILIES if name == "lstm" or name not in (*OF_TEXTS, *OF_TABLES, *OF_HISTORIES))
OF_KIND = {"image": OF_IMAGES, "text": OF_TEXTS, "table": OF_TABLES, "history": OF_HISTORIES}
LIBRARIES = {  # families of many networks
    "torchvision": torchvision_models.published,
    "timm": timm_models.published,
    "bert": bert.published,
}
OWN_NAMES = {"bert": bert.own_names}  # published tensors by the names of the family's networks, if they differ


def require_takes(name: str, kind: str) -> None:
    """Raise DarkroomError if the family `name` does not take examples of this kind."""
    if name not in OF_KIND[kind]:
        allowed = ", ".join(OF_KIND[kind])
        raise DarkroomError(f"model.name = {name!r} does not take {plural(kind)}: use one of {allowed}.")


def build(name: str, arguments: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a network of the family `name` for inputs of `shape`, channels last: (height, width, channels) for images.

    For texts it is (length, kinds of tokens), for histories (length, items + 1, features of an item), for rows of a
    table the kinds of categories of each column. Draws the initial weights from PyTorch's global generator. Raises
    DarkroomError if the family cannot take inputs of this shape, for example because images are too small.
    """
    try:
        return FAMILIES[name](shape, classes, **arguments)
    except ValueError as error:
        size = " x ".join(map(str, shape))
        raise DarkroomError(
            f"model.name = {name!r} cannot take inputs of {size}: {error}; use another model or preprocess.image_size."
        ) from None


def published(name: str, architecture: str, channels: int) -> nn.Module:
    """A network of LIBRARIES as its publisher defines it, for so many channels or kinds of tokens, with random weights.

    The attribute `last_layer_name` names its last layer. Raises DarkroomError if the library has no such architecture.
    """
    return LIBRARIES[name](architecture, channels)
