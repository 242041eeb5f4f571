"""The pretrained weights in models/pretrained: a description, and a safetensors file unless it is `none`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor, nn

FOLDER = "models/pretrained"
_DESCRIPTION, _WEIGHTS = "pretrained.json", "pretrained.safetensors"


@dataclass(frozen=True)
class Pretrained:
    """What a network that starts from the weights must know about them."""

    name: str
    title: str
    licence: str
    family: str
    architecture: str  # "" if the family has only one
    sha256: str  # of the file that they came from
    mean: tuple[float, ...]  # by channel, on the scale 0..1, as in their training; empty if they are not for images
    std: tuple[float, ...]
    image_size: int | None  # pixels per side; None if they are not for images
    interpolation: str  # bilinear or bicubic
    resize: str = "crop"  # to a square: as preprocess.resize
    crop_fraction: float | None = None  # as preprocess.crop_fraction; None if it is not stated
    tokenizer: str | None = None  # SHA-256 of the tokenizer.json that made the inputs of their training, if of texts


def write(folder: str | Path, described: Pretrained | None, weights: bytes = b"") -> None:
    """Write the description and the contents of a safetensors file to `folder`, atomically; None stands for `none`."""
    fields = (
        {name: value for name, value in asdict(described).items() if name != "tokenizer" or value}
        if described
        else None
    )
    with new_folder(folder) as temporary:
        write_json(temporary / _DESCRIPTION, fields)
        if described:
            (temporary / _WEIGHTS).write_bytes(weights)


def read(folder: str | Path) -> Pretrained | None:
    """The description in `folder`; None if the network starts from random weights.

    Raises DarkroomError if it is missing or damaged.
    """
    fields = read_json(Path(folder) / _DESCRIPTION)
    if fields is None:
        return None
    try:
        return Pretrained(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})
    except (TypeError, KeyError) as error:
        raise DarkroomError(f"{folder} cannot be read ({error}): run `dvc repro --force pretrained`.") from None


def load(folder: str | Path, network: "nn.Module") -> list[str]:
    """Load the weights in `folder` into `network`, and return the names of those that keep their random values.

    Only layers that were replaced to fit these inputs and classes may keep them: the attribute `adapted` of a library's
    network names them; of other networks it is the last layer, `head`. Position embeddings of another image size are
    resampled. Raises DarkroomError if the weights are damaged, or belong to another network; the network is then
    unchanged.
    """
    # Here, as the stage `pretrained` mostly writes `none`, which needs no PyTorch
    from safetensors.torch import load_file

    from darkroom.weights import positions

    try:
        loaded = positions.fitted(load_file(Path(folder) / _WEIGHTS), network)
    except (SafetensorError, OSError) as error:
        raise DarkroomError(f"{folder} cannot be read ({error}): run `dvc repro --force pretrained`.") from None
    own = network.state_dict()
    mismatched = [
        name
        for name in {**own, **loaded}
        if name not in own or name not in loaded or own[name].shape != loaded[name].shape
    ]
    optional = tuple(f"{layer}." for layer in getattr(network, "adapted", ("head",)))
    foreign = [name for name in mismatched if not f"{name}.".startswith(optional)]
    if foreign:
        more = f", and {len(foreign) - 1} more differ" if foreign[1:] else ""
        raise DarkroomError(
            f"model.pretrained does not fit the network: {_difference(foreign[0], own, loaded)}{more}; set model.name "
            "and its parameters, preprocess.image_size and preprocess.color as the weights need, or use none."
        )
    network.load_state_dict({name: tensor for name, tensor in loaded.items() if name not in mismatched}, strict=False)
    return [name for name in own if name in mismatched]


def _difference(name: str, own: "dict[str, Tensor]", loaded: "dict[str, Tensor]") -> str:
    if name not in loaded:
        return f"{name} is missing"
    if name not in own:
        return f"{name} is unknown"
    return f"{name} has shape {tuple(loaded[name].shape)}, expected {tuple(own[name].shape)}"
