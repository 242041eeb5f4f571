"""The `model` section of params.yaml: one config class per network family."""

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from darkroom.core.params import Fraction, NameOrNone, Section
from darkroom.core.spelling import did_you_mean

Channels = Annotated[int, Field(ge=1, le=4096)]


def _whole_blocks(depth: int) -> int:
    if depth % 6 != 4:
        raise ValueError("must be 6 n + 4, such as 10, 16, 22 or 28")
    return depth


class CnnConfig(Section):
    """The classic convolutional network."""

    renamed: ClassVar = {"width": "channels", "hidden": "hidden_units"}
    channels: Channels
    hidden_units: Annotated[int, Field(ge=1, le=65536)]
    dropout: Fraction


class SprintConfig(Section):
    """The network for trainings of a few seconds."""

    renamed: ClassVar = {"width": "channels"}
    channels: Channels
    dropout: Fraction


class ResnetConfig(Section):
    """The small residual network."""

    renamed: ClassVar = {"width": "channels"}
    channels: Channels
    dropout: Fraction


class WideResnetConfig(Section):
    """The wide residual network."""

    renamed: ClassVar = {"width": "widen_factor"}
    depth: Annotated[int, Field(ge=10, le=1000), AfterValidator(_whole_blocks)]
    widen_factor: Annotated[int, Field(ge=1, le=100)]
    dropout: Fraction


class LstmConfig(Section):
    """The bidirectional LSTM."""

    renamed: ClassVar = {"width": "hidden_size"}
    hidden_size: Channels
    layers: Annotated[int, Field(ge=1, le=16)]
    dropout: Fraction


class VitConfig(Section):
    """The compact convolutional Transformer."""

    renamed: ClassVar = {"width": "embed_dim"}
    embed_dim: Annotated[int, Field(ge=2, le=4096)]
    depth: Annotated[int, Field(ge=1, le=100)]
    heads: Annotated[int, Field(ge=1, le=256)]
    mlp_ratio: Annotated[float, Field(gt=0, le=16)]
    dropout: Fraction

    @model_validator(mode="after")
    def _heads_divide_embed_dim(self) -> "VitConfig":
        if self.embed_dim % self.heads:
            raise ValueError(f"heads = {self.heads} must divide embed_dim = {self.embed_dim}")
        return self


class TorchvisionConfig(Section):
    """A classification model of torchvision."""

    architecture: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class TimmConfig(Section):
    """A classification network of timm."""

    architecture: Annotated[str, Field(pattern=r"^[a-z0-9_.]+$")]


class TextCnnConfig(Section):
    """The convolutional network over tokens."""

    embed_dim: Annotated[int, Field(ge=2, le=4096)]
    channels: Channels
    dropout: Fraction


class TransformerConfig(VitConfig):
    """The Transformer encoder over tokens."""


class BertConfig(Section):
    """BERT."""

    architecture: Annotated[str, Field(pattern=r"^(auto|L-[1-9]\d?_H-[1-9]\d{0,3}_A-[1-9]\d?)$")]
    dropout: Fraction


class MlpConfig(Section):
    """The multilayer perceptron over the columns of a table."""

    bins: Annotated[int, Field(ge=1, le=256)]
    embed_dim: Annotated[int, Field(ge=1, le=1024)]
    hidden_size: Channels
    depth: Annotated[int, Field(ge=1, le=16)]
    dropout: Fraction
    hidden_values: Fraction


class TabmConfig(MlpConfig):
    """Perceptrons that share weights."""

    members: Annotated[int, Field(ge=1, le=256)]


class FtTransformerConfig(VitConfig):
    """The Transformer encoder over the columns of a table."""

    bins: Annotated[int, Field(ge=1, le=256)]
    hidden_values: Fraction


class SasrecConfig(VitConfig):
    """The Transformer over the events of a history."""


class Gru4recConfig(Section):
    """The recurrent network over the events of a history."""

    embed_dim: Annotated[int, Field(ge=2, le=4096)]
    hidden_size: Channels
    layers: Annotated[int, Field(ge=1, le=16)]
    dropout: Fraction


def _family(name: str) -> str:
    families = ModelConfig.families()
    library, _, architecture = name.partition("/")
    if architecture and library in ("torchvision", "timm"):
        raise ValueError(f"must be {library}, with model.{library}.architecture = {architecture}")
    if name not in families:
        hint = did_you_mean(name, families, listed=False)
        raise ValueError(f"must be one of {', '.join(families)}" + (f"; {hint}" if hint else ""))
    return name


class PretrainedConfig(Section):
    """The part of the `model` section that names the pretrained weights."""

    model_config = ConfigDict(extra="ignore")

    pretrained: NameOrNone


class ModelConfig(Section):
    """The network family, the weights that it starts from, and the parameters of each family."""

    renamed: ClassVar = {"weights": "pretrained", "initial_weights": "pretrained"}
    name: Annotated[str, AfterValidator(_family)]
    pretrained: NameOrNone
    cnn: CnnConfig
    sprint: SprintConfig
    resnet: ResnetConfig
    wide_resnet: WideResnetConfig
    lstm: LstmConfig
    vit: VitConfig
    torchvision: TorchvisionConfig
    timm: TimmConfig
    text_cnn: TextCnnConfig
    transformer: TransformerConfig
    bert: BertConfig
    mlp: MlpConfig
    tabm: TabmConfig
    ft_transformer: FtTransformerConfig
    sasrec: SasrecConfig
    gru4rec: Gru4recConfig

    @classmethod
    def families(cls) -> list[str]:
        """The names of the network families."""
        return [name for name in cls.model_fields if name not in ("name", "pretrained")]

    @classmethod
    def family(cls, name: str) -> type[Section]:
        """The config class of a network family; raise KeyError if there is none."""
        return {family: cls.model_fields[family].annotation for family in cls.families()}[name]

    def arguments(self) -> dict[str, Any]:
        """The parameters of the chosen network."""
        return getattr(self, self.name).model_dump()


SECTIONS = {"model": ModelConfig}
