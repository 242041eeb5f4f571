"""Check the parameters of a training against its pretrained weights before anything runs."""

from darkroom.core.errors import DarkroomError
from darkroom.models.config import ModelConfig
from darkroom.pretrained import descriptions
from darkroom.pretrained.descriptions import COLORS, NONE

FROZEN = ("head", "lora", "adalora")  # ways of tuning that leave most layers as they are


def require_consistent(model: ModelConfig, color: str, tokenizer: str, tune: str, batch_norm: str) -> None:
    """Raise DarkroomError, with the options to set, if the training cannot start from `model.pretrained`.

    `color` is preprocess.color, `tokenizer` preprocess.text.tokenizer, `tune` train.tune, and `batch_norm`
    train.batch_norm. Reads only descriptions, so what
    depends on the images or on the file of the weights is left to later stages.
    """
    if model.pretrained == NONE:
        _require_trainable_from_random(model, tune, batch_norm)
        return
    weights = descriptions.load(model.pretrained)
    given, needed = {"model.name": model.name}, {"model.name": weights.family}
    if weights.tokenizer:
        given["preprocess.text.tokenizer"], needed["preprocess.text.tokenizer"] = tokenizer, weights.name
    else:
        given["preprocess.color"], needed["preprocess.color"] = color, COLORS.get(len(weights.mean), "auto")
    if architecture := getattr(getattr(model, weights.family), "architecture", None):
        key = f"model.{weights.family}.architecture"
        given[key], needed[key] = architecture, weights.architecture
    wrong = {key: value for key, value in given.items() if value not in ("auto", needed[key])}
    if wrong:
        found = " and ".join(f"{key} = {value}" for key, value in wrong.items())
        raise DarkroomError(
            f"model.pretrained = {weights.name!r} does not go with {found}: "
            f"dvc exp run {descriptions.as_options({key: needed[key] for key in wrong})}"
        )


def _require_trainable_from_random(model: ModelConfig, tune: str, batch_norm: str) -> None:
    if model.arguments().get("architecture") == "auto":
        key = f"model.{model.name}.architecture"
        raise DarkroomError(
            f"{key} = 'auto' is that of pretrained weights, but model.pretrained = none: name an architecture "
            f"(-S {key}=...), or choose weights: {_suggestion()}"
        )
    if tune in FROZEN:
        raise DarkroomError(
            f"train.tune = {tune!r} keeps the layers of pretrained weights, but with model.pretrained = none these are "
            f"random: set -S train.tune=all, or choose weights: {_suggestion()}"
        )
    if batch_norm == "frozen":
        raise DarkroomError(
            "train.batch_norm = 'frozen' keeps the statistics of pretrained weights, but with model.pretrained = none "
            f"there are none: set -S train.batch_norm=train, or choose weights: {_suggestion()}"
        )


def _suggestion() -> str:
    """A command that chooses weights: the first ones that are there."""
    names = descriptions.known()
    return descriptions.load(names[0]).command() if names else "python -m darkroom.pretrained add REPO"
