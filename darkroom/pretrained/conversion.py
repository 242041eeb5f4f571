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
from darkroom.models.registry import LIBRARIES, OWN_NAMES, published
from darkroom.pretrained.descriptions import FILE, Weights

CHECKPOINT_KEYS = ("state_dict", "model")  # of the network's state dict in a training's checkpoint
WRAPPERS = ("_orig_mod.", "module.", "model.")  # torch.compile, DistributedDataParallel, Lightning


def convert(path: Path, weights: Weights) -> bytes:
    """The contents of a safetensors file with the tensors in `path`, a verified .safetensors or PyTorch file.

    The last layer may be missing or have any number of classes: a training replaces it unless it fits. Raises
    DarkroomError if the file holds anything but tensors, or if other names or shapes are not those of the network.
    """
    tensors = _without_wrapper_names(_read(path, weights))
    if weights.family not in LIBRARIES:  # one of our own: its shapes depend on the data, so training checks them
        return to_bytes({name: tensor.contiguous().clone() for name, tensor in tensors.items()})
    try:
        network = published(weights.family, weights.architecture, weights.vocabulary or len(weights.mean))
    except DarkroomError as error:
        raise DarkroomError(f"{weights.folder / FILE}: {error}") from None
    tensors = OWN_NAMES.get(weights.family, dict)(tensors)
    expected = network.state_dict()
    # Old files lack the counters of batch norm, which a training does not read.
    counters = {name: tensor for name, tensor in expected.items() if name.endswith(".num_batches_tracked")}
    last = {name for name in expected if name.startswith(f"{network.last_layer_name}.")}
    if weights.names == "by_order":
        lacking = (set(), counters.keys(), last, counters.keys() | last)
        orders = [[name for name in expected if name not in names] for names in lacking]
        order = next((names for names in orders if len(names) == len(tensors)), None)
        if order is None:
            raise _mismatch(weights, f"it has {len(tensors)} tensors, expected {len(expected)}")
        tensors = dict(zip(order, tensors.values(), strict=True))
    tensors = counters | tensors
    for name in [*expected, *tensors]:
        if name not in tensors and name not in last:
            raise _mismatch(weights, f"{name} is missing")
        if name not in expected:
            raise _mismatch(weights, f"{name} is unknown")
        if name not in last and tensors[name].shape != expected[name].shape:
            shapes = f"shape {tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)}"
            raise _mismatch(weights, f"{name} has {shapes}")
    return to_bytes(
        {name: tensors[name].to(expected[name].dtype).contiguous().clone() for name in expected if name in tensors}
    )


def _read(path: Path, weights: Weights) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            loaded = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)  # refuses everything that could run code
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, BadZipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        why = "it is damaged, or holds code, which is never run"
        raise DarkroomError(f"{weights.title}: {weights.file} cannot be read: {why} ({reason}).") from None
    if isinstance(loaded, Mapping):  # a checkpoint that holds the state dict beside other things
        loaded = next((loaded[key] for key in CHECKPOINT_KEYS if isinstance(loaded.get(key), Mapping)), loaded)
    if not isinstance(loaded, Mapping) or not loaded or not all(_is_named_tensor(*item) for item in loaded.items()):
        raise DarkroomError(
            f"{weights.title}: {weights.file} is not a plain dictionary of tensors, alone or under the key "
            f"{' or '.join(CHECKPOINT_KEYS)}: use another file."
        )
    return loaded


def _is_named_tensor(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided


def _without_wrapper_names(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors without the prefixes of wrappers around the network, and without what a wrapper holds beside it."""

    def wrapped(prefix: str) -> list[str]:
        return [name for name in tensors if name.startswith(prefix)]

    while prefix := next((prefix for prefix in WRAPPERS if len(wrapped(prefix)) > len(tensors) / 2), None):
        tensors = {name.removeprefix(prefix): tensors[name] for name in wrapped(prefix)}
    return tensors


def _mismatch(weights: Weights, difference: str) -> DarkroomError:
    network = f"{weights.family} {weights.architecture}".strip()
    return DarkroomError(
        f"{weights.title}: {weights.file} does not fit the network {network}: {difference}. Correct family, "
        f"architecture or names in {weights.folder / FILE}."
    )
