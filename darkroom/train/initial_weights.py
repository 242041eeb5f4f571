"""Weights to start a training from: a safetensors file of the user's, which cannot run code."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from darkroom.core.errors import DarkroomError


def load(path: str | Path, network: nn.Module) -> list[str]:
    """Gives `network` the weights in `path`, and returns the names of those that it keeps as they were drawn.

    These can only be of layers that were made anew for these pictures and classes: the attribute `adapted` of a network of
    torchvision's names them, a network of Darkroom's has none. Raises DarkroomError where the file is missing or damaged,
    or holds another network's weights; then the network is as it was.
    """
    try:
        given = load_file(path)
    except FileNotFoundError:
        raise DarkroomError(
            f"model.initial_weights = {str(path)!r} is missing: give the path of a .safetensors file, or none."
        ) from None
    except (SafetensorError, OSError) as error:
        raise DarkroomError(
            f"model.initial_weights = {str(path)!r} is no whole .safetensors file ({error}): fetch or convert it again, or give none."
        ) from None
    own = network.state_dict()
    given = {
        name: tensor for name, tensor in own.items() if name.endswith(".num_batches_tracked")
    } | given  # old files lack these
    unlike = [
        name
        for name in sorted(own.keys() | given.keys())
        if name not in own or name not in given or own[name].shape != given[name].shape
    ]
    optional = tuple(f"{layer}." for layer in getattr(network, "adapted", ()))
    foreign = [name for name in unlike if not f"{name}.".startswith(optional)]
    if foreign:
        raise DarkroomError(
            f"model.initial_weights = {str(path)!r} holds weights of another network: {_difference(foreign[0], own, given)}"
            f"{f', and {len(foreign) - 1} more differ' if foreign[1:] else ''}; give the file that belongs to model.name, these pictures and classes, or none."
        )
    network.load_state_dict({name: tensor for name, tensor in given.items() if name not in unlike}, strict=False)
    return [name for name in own if name in unlike]


def digest(path: str) -> str:
    """The SHA-256 of the file's contents, or "none"."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path != "none" else path


def _difference(name: str, own: dict, given: dict) -> str:
    if name not in given:
        return f"it lacks {name}"
    if name not in own:
        return f"its {name} has no place in this one"
    return f"its {name} is of shape {tuple(given[name].shape)}, not {tuple(own[name].shape)}"
