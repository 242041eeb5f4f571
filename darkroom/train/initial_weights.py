"""The weights that a network starts from: random ones, or the pretrained ones in models/pretrained."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from darkroom.core.arrays import Manifest
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.models.config import ModelConfig
from darkroom.weights import pretrained
from darkroom.weights.pretrained import Pretrained

FEW_IMAGES = 5000  # training images; with fewer, pretrained weights often give a better network for photos
OF_LAYERS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")  # tensors of ordinary layers
PHOTO = 64  # pixels per side: smaller images are rarely photos


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
    if weights.tokenizer:
        return manifest
    channels = manifest.shape[-1]
    if len(weights.mean) != channels:
        color = "rgb" if len(weights.mean) == 3 else "grey"
        raise DarkroomError(
            f"model.pretrained = {weights.name!r} needs images of {counted(len(weights.mean), 'channel')}, but these "
            f"have {channels}: set preprocess.color = {color}."
        )
    return replace(manifest, mean=weights.mean, std=weights.std)


def remarks(
    weights: Pretrained | None, random: Sequence[str], last_layer: str, manifest: Manifest, examples: int
) -> Iterator[str]:
    """What a user should know about the start of a training on `examples` inputs like `manifest.shape`: lines.

    `random` are the names of the network's weights that the pretrained ones do not hold.
    """
    is_image = manifest.kind == "image"
    if weights is None:
        if is_image and min(manifest.shape[:2]) >= PHOTO and examples < FEW_IMAGES:
            yield (
                f"hint: {counted(examples, 'training image')} are few for random weights: for photos, try pretrained "
                "ones (`python -m darkroom.recipe finetune`)"
            )
        return
    layers = dict.fromkeys(_layer(name) for name in random if not name.startswith(f"{last_layer}."))
    if layers:
        yield f"these layers start at random too, because {weights.name} does not fit them: {', '.join(layers)}"
    if is_image and (differences := _differences(weights, manifest)):
        found = ", ".join(f"{name} {given}" for name, (given, _) in differences.items())
        options = " ".join(f"-S preprocess.{name}={wanted}" for name, (_, wanted) in differences.items())
        yield f"hint: {weights.name} was trained with other images than these ({found}): as in its training, {options}"


def _layer(name: str) -> str:
    """The layer of a tensor; the tensor itself if it is a parameter of its own, such as a position embedding."""
    layer, _, own = name.rpartition(".")
    return layer if own in OF_LAYERS else name


def _differences(weights: Pretrained, manifest: Manifest) -> dict[str, tuple[Any, Any]]:
    """The parameters of `preprocess` that differ from those of the weights' training: found and wanted value."""
    height, width, _ = manifest.shape
    size = height if height == width else f"{height} x {width}"
    pairs = {
        "image_size": (size, weights.image_size),
        "resize": (manifest.resize, weights.resize),
        "interpolation": (manifest.interpolation, weights.interpolation),
        "crop_fraction": (manifest.crop_fraction, weights.crop_fraction),
    }
    return {name: pair for name, pair in pairs.items() if pair[1] is not None and pair[0] != pair[1]}
