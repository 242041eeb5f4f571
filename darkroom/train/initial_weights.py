"""Load initial weights from a safetensors file, a format that cannot run code."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from darkroom.core.errors import DarkroomError


def load(path: str | Path, network: nn.Module) -> list[str]:
    """Load the weights in `path` into `network`, and return the names of those that keep their random values.

    Only layers that were replaced to fit these inputs and classes may keep them: the attribute `adapted` of a
    torchvision network names them; other networks have none. Raises DarkroomError if the file is missing or damaged, or
    belongs to another network; the network is then unchanged.
    """
    key = f"model.initial_weights = {str(path)!r}"
    try:
        loaded = load_file(path)
    except FileNotFoundError:
        raise DarkroomError(f"{key} is missing: give the path of a .safetensors file, or none.") from None
    except (SafetensorError, OSError) as error:
        raise DarkroomError(
            f"{key} is not a valid .safetensors file ({error}): download or convert it again, or set it to none."
        ) from None
    own = network.state_dict()
    counters = {name: tensor for name, tensor in own.items() if name.endswith(".num_batches_tracked")}
    loaded = counters | loaded  # old files lack these counters of batch norm
    mismatched = [
        name
        for name in sorted(own.keys() | loaded.keys())
        if name not in own or name not in loaded or own[name].shape != loaded[name].shape
    ]
    optional = tuple(f"{layer}." for layer in getattr(network, "adapted", ()))
    foreign = [name for name in mismatched if not f"{name}.".startswith(optional)]
    if foreign:
        more = f", and {len(foreign) - 1} more differ" if foreign[1:] else ""
        raise DarkroomError(
            f"{key} holds the weights of another network: {_difference(foreign[0], own, loaded)}{more}; "
            "give a file that fits model.name, the inputs and the classes, or none."
        )
    network.load_state_dict({name: tensor for name, tensor in loaded.items() if name not in mismatched}, strict=False)
    return [name for name in own if name in mismatched]


def digest(path: str) -> str:
    """The SHA-256 of the file's contents; "none" for "none"."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path != "none" else path


def _difference(name: str, own: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> str:
    if name not in loaded:
        return f"{name} is missing"
    if name not in own:
        return f"{name} is unknown"
    return f"{name} has shape {tuple(loaded[name].shape)}, expected {tuple(own[name].shape)}"
