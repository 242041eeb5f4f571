"""Convert pretrained weights to safetensors, with the names of the network that they are for."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from darkroom.core.errors import DarkroomError
from darkroom.models.registry import LIBRARIES, published
from darkroom.pretrained.descriptions import Weights


def convert(path: Path, weights: Weights) -> bytes:
    """The contents of a safetensors file with the tensors in `path`, a verified .safetensors or PyTorch file.

    Raises DarkroomError if the file holds anything but tensors, or if names or shapes are not those of the network.
    """
    tensors = _read(path, weights)
    if weights.family not in LIBRARIES:  # one of our own: its shapes depend on the data, so training checks them
        return to_bytes({name: tensor.contiguous() for name, tensor in tensors.items()})
    expected = published(weights.family, weights.architecture)
    if weights.names == "by_order":
        if len(tensors) != len(expected):
            raise _mismatch(weights, f"it has {len(tensors)} tensors, expected {len(expected)}")
        tensors = dict(zip(expected, tensors.values(), strict=True))
    # Old files lack the counters of batch norm, which a training does not read.
    counters = {name: tensor for name, tensor in expected.items() if name.endswith(".num_batches_tracked")}
    tensors = counters | tensors
    for name in [*expected, *tensors]:
        if name not in tensors:
            raise _mismatch(weights, f"{name} is missing")
        if name not in expected:
            raise _mismatch(weights, f"{name} is unknown")
        if tensors[name].shape != expected[name].shape:
            shapes = f"shape {tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)}"
            raise _mismatch(weights, f"{name} has {shapes}")
    return to_bytes({name: tensors[name].to(expected[name].dtype).contiguous().clone() for name in expected})


def _read(path: Path, weights: Weights) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)  # refuses everything that could run code
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, BadZipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        why = "it is damaged, or holds code, which is never run"
        raise DarkroomError(f"{weights.title}: {weights.file} cannot be read: {why} ({reason}).") from None
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(one, Tensor) for one in loaded.values()):
        raise DarkroomError(f"{weights.title}: {weights.file} is not a plain dictionary of tensors: use another file.")
    return loaded


def _mismatch(weights: Weights, difference: str) -> DarkroomError:
    network = f"{weights.family} {weights.architecture}".strip()
    return DarkroomError(
        f"{weights.title}: {weights.file} does not fit the network {network}: {difference}. Correct family, "
        f"architecture or names in {weights.folder / 'weights.yaml'}."
    )
