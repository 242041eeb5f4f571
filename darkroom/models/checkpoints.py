"""The trained model on disk: weights as safetensors, which cannot run code, and a JSON file that describes them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, write_json
from darkroom.models import hardware
from darkroom.models.config import ModelConfig
from darkroom.models.registry import build


@dataclass(frozen=True)
class Description:
    """What is needed to build the network again, to prepare its inputs, and to name its classes."""

    name: str  # of the network family
    arguments: Mapping[str, Any]  # of the network
    dataset: str
    title: str
    licence: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]  # of one input, channels last: an image's is (height, width, channels)
    mean: tuple[float, ...]  # per channel, on the scale 0..1
    std: tuple[float, ...]
    data_sha256: str  # of the arrays that it was trained on
    params: Mapping[str, Any]  # of the training


@dataclass(frozen=True)
class Trained:
    """The network in models/trained, and the data in data/arrays."""

    network: nn.Module  # on the CPU, in evaluation mode
    description: Description
    manifest: Manifest
    threads: int  # CPU threads that PyTorch uses

    @property
    def device(self) -> torch.device:
        """A GPU if there is one, unless the network was trained with `train.device = cpu`."""
        return hardware.choose_device("cpu" if self.description.params["device"] == "cpu" else "auto")

    def split(self, name: str) -> Split:
        """One split of the data: train, val or test."""
        return arrays.read_split("data/arrays", name)


def describe(name: str, arguments: Mapping[str, Any], manifest: Manifest, params: Mapping[str, Any]) -> Description:
    """Describe a network of the family `name` that was trained with `params` on the data of `manifest`."""
    shared = {
        field: getattr(manifest, field) for field in ("dataset", "title", "licence", "classes", "shape", "mean", "std")
    }
    return Description(name=name, arguments=arguments, **shared, data_sha256=manifest.sha256, params=params)


def require_same_data(description: Description, manifest: Manifest) -> None:
    """Raise DarkroomError if the network was trained on other inputs or classes than those of `manifest`."""
    if (description.data_sha256, description.classes) != (manifest.sha256, manifest.classes):
        raise DarkroomError(
            f"models/trained was trained on other data than data/arrays ({manifest.dataset}): "
            "run `dvc repro` to train on this data."
        )


def save(
    folder: str | Path, network: nn.Module, description: Description, files: Mapping[str, bytes] = MappingProxyType({})
) -> None:
    """Write model.safetensors, model.json and further `files`, by name, to `folder`, atomically.

    The bytes do not depend on the memory format of the weights.
    """
    with new_folder(folder) as temporary:
        # Not save_file, which hides the system's error when the disk is full.
        (temporary / "model.safetensors").write_bytes(to_bytes(separate(network.state_dict())))
        write_json(temporary / "model.json", asdict(description))
        for name, content in files.items():
            (temporary / name).write_bytes(content)


def separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous, each in memory of its own: safetensors refuses layers that share weights."""
    found, memories = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.contiguous().cpu()
        found[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in memories else tensor
        memories.add(tensor.untyped_storage().data_ptr())
    return found


def load(folder: str | Path) -> tuple[nn.Module, Description]:
    """Read what `save` wrote: the network on the CPU, in float32 and evaluation mode, and its description.

    Raises DarkroomError if a file is missing or damaged, or if the weights belong to another network.
    """
    folder = Path(folder)
    try:
        fields = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        for name in ("classes", "shape", "mean", "std"):
            fields[name] = tuple(fields[name])
        description = Description(**fields)
        ModelConfig.family(description.name).model_validate(description.arguments)
        network = build(description.name, description.arguments, description.shape, len(description.classes))
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except FileNotFoundError:
        missing = next(path for path in (folder / "model.json", folder / "model.safetensors") if not path.exists())
        raise DarkroomError(f"{missing} is missing: run `dvc repro train` to train the model.") from None
    except (ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise DarkroomError(
            f"The model in {folder} cannot be read ({' '.join(str(error).split())}): "
            "run `dvc repro --force train` to train it again."
        ) from error
    return network.eval(), description


def open_trained() -> Trained:
    """Load models/trained and the manifest of data/arrays; PyTorch uses one CPU thread per core and keeps freed memory.

    Raises DarkroomError if either is missing or damaged, or if the model was trained on other data.
    """
    threads = hardware.use_threads("auto")
    hardware.keep_freed_memory()
    network, description = load("models/trained")
    manifest = arrays.read_manifest("data/arrays")
    require_same_data(description, manifest)
    # Pretrained weights bring the normalisation of their training
    manifest = replace(manifest, mean=description.mean, std=description.std)
    return Trained(network, description, manifest, threads)
