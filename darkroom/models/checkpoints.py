"""Trained weights on disk: safetensors, which cannot run code, and a JSON sidecar that says what they are."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from darkroom.core.arrays import Manifest
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, write_json
from darkroom.models.registry import build


@dataclass(frozen=True)
class Description:
    """What the weights are: enough to build the network again and to feed it."""

    name: str  # of the model family
    arguments: Mapping[str, Any]  # of the network
    dataset: str
    title: str
    licence: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # height, width, channels
    mean: tuple[float, ...]  # by channel, on the scale 0..1
    std: tuple[float, ...]
    data_sha256: str  # of the arrays that it was trained on
    params: Mapping[str, Any]  # of the training


def describe(name: str, arguments: Mapping[str, Any], manifest: Manifest, params: Mapping[str, Any]) -> Description:
    """The description of a network of the family `name` that was trained on the data of `manifest` with `params`."""
    shared = {
        field: getattr(manifest, field) for field in ("dataset", "title", "licence", "classes", "shape", "mean", "std")
    }
    return Description(name=name, arguments=arguments, **shared, data_sha256=manifest.sha256, params=params)


def require_same_data(description: Description, manifest: Manifest) -> None:
    """Raises DarkroomError where the network was trained on other pictures or classes than those of `manifest`."""
    if (description.data_sha256, description.classes) != (manifest.sha256, manifest.classes):
        raise DarkroomError(
            f"models/trained was trained on other data than data/arrays ({manifest.dataset}): run `dvc repro` to train it on them."
        )


def save(folder: str | Path, network: nn.Module, description: Description) -> None:
    """Writes model.safetensors and model.json to `folder`, whole or not at all."""
    with new_folder(folder) as temporary:
        weights = {
            name: tensor.contiguous() for name, tensor in network.state_dict().items()
        }  # no memory order but the plain one
        (temporary / "model.safetensors").write_bytes(
            to_bytes(weights)
        )  # not save_file, which hides that a disk is full
        write_json(temporary / "model.json", asdict(description))


def load(folder: str | Path) -> tuple[nn.Module, Description]:
    """Reads what `save` wrote: the network on the CPU, in float32 and evaluation mode, and its description.

    Raises DarkroomError where a file is missing or damaged or the weights are another network's.
    """
    folder = Path(folder)
    try:
        fields = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        for name in ("classes", "shape", "mean", "std"):
            fields[name] = tuple(fields[name])
        description = Description(**fields)
        network = build(description.name, description.arguments, description.shape, len(description.classes))
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except FileNotFoundError:
        missing = next(path for path in (folder / "model.json", folder / "model.safetensors") if not path.exists())
        raise DarkroomError(f"{missing} is missing: run `dvc repro train` to train the model.") from None
    except (ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise DarkroomError(
            f"The model in {folder} cannot be read ({error}): run `dvc repro --force train` to train it anew."
        ) from error
    return network.eval(), description
