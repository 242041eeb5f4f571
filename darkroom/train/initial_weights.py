"""The weights that a network starts from: random ones, or the pretrained ones in models/pretrained."""

from dataclasses import replace
from typing import Any

from darkroom.core.arrays import Manifest
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.models.config import ModelConfig
from darkroom.weights import pretrained
from darkroom.weights.pretrained import Pretrained


def find(model: ModelConfig) -> Pretrained | None:
    """The pretrained weights in models/pretrained; None if the network starts from random ones.

    Raises DarkroomError if they are not those that `model.pretrained` names.
    """
    if model.pretrained == "none":
        return None
    found = pretrained.read(pretrained.FOLDER)
    if found is None or found.name != model.pretrained:
        raise DarkroomError(
            f"{pretrained.FOLDER} does not hold model.pretrained = {model.pretrained!r}: run `dvc repro pretrained`."
        )
    return found


def arguments(model: ModelConfig, weights: Pretrained | None) -> dict[str, Any]:
    """The network's arguments; the architecture "auto" is that of the weights.

    Raises DarkroomError if there are none, or if they are for another family.
    """
    given = model.arguments()
    if weights and weights.family != model.name:
        raise DarkroomError(
            f"model.pretrained = {weights.name!r} is for model.name = {weights.family}, not {model.name}: change one."
        )
    if given.get("architecture") != "auto":
        return given
    if not weights:
        key = f"model.{model.name}.architecture"
        raise DarkroomError(f"{key} = 'auto' needs model.pretrained: name an architecture, or pretrained weights.")
    return {**given, "architecture": weights.architecture}


def normalised(weights: Pretrained, manifest: Manifest) -> Manifest:
    """The manifest with the mean and standard deviation that the weights were trained with.

    Raises DarkroomError if the images have another number of channels.
    """
    channels = manifest.shape[-1]
    if len(weights.mean) != channels:
        color = "rgb" if len(weights.mean) == 3 else "grey"
        raise DarkroomError(
            f"model.pretrained = {weights.name!r} needs images of {counted(len(weights.mean), 'channel')}, but these "
            f"have {channels}: set preprocess.color = {color}."
        )
    return replace(manifest, mean=weights.mean, std=weights.std)
