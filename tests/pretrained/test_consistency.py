import shlex

import pytest

from darkroom.core.errors import DarkroomError
from darkroom.pretrained.consistency import require_consistent
from tests.pretrained.weights import ARCHITECTURE, put
from tests.trainings import MODEL


def model(name: str = "timm", weights: str = "tiny", architecture: str = "auto") -> object:
    library = {"timm": MODEL.timm.model_copy(update={"architecture": architecture})}
    return MODEL.model_copy(update={"name": name, "pretrained": weights, **library})


def refused(model: object, color: str, tune: str, batch_norm: str = "train") -> tuple[str, dict[str, str]]:
    """The message, which is one line, and the options that it says to set."""
    with pytest.raises(DarkroomError) as caught:
        require_consistent(model, color, "none", tune, batch_norm)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    words = shlex.split(message.replace(",", " ").replace("(", " ").replace(")", " "))
    options = [words[number + 1] for number, word in enumerate(words) if word == "-S"]
    return message, dict(option.split("=") for option in options)


@pytest.mark.parametrize("architecture", ["auto", ARCHITECTURE])
@pytest.mark.parametrize("color", ["auto", "rgb"])
@pytest.mark.parametrize("tune", ["all", "head", "lora", "adalora"])
def test_parameters_that_fit_are_accepted(architecture: str, color: str, tune: str):
    put("tiny")
    for batch_norm in ("train", "frozen"):
        require_consistent(model(architecture=architecture), color, "none", tune, batch_norm)


@pytest.mark.parametrize("name", ["resnet", "torchvision"])
def test_random_weights_need_nothing(name: str):
    require_consistent(model(name, "none"), "grey", "none", "all", "train")


@pytest.mark.parametrize(
    ("arguments", "color", "options"),
    [
        ({"name": "resnet"}, "auto", {"model.name": "timm"}),
        ({}, "grey", {"preprocess.color": "rgb"}),
        ({"architecture": "test_vit"}, "rgb", {"model.timm.architecture": ARCHITECTURE}),
        ({"name": "sprint"}, "grey", {"model.name": "timm", "preprocess.color": "rgb"}),
    ],
)
def test_what_does_not_fit_the_weights_is_named_with_the_options_to_set(arguments: dict, color: str, options: dict):
    put("tiny")
    message, found = refused(model(**arguments), color, "all")
    assert found == options
    assert "'tiny'" in message and all(key in message for key in options)


def test_weights_for_grey_images_need_these():
    put("tiny", mean=[0.5], std=[0.5])
    assert refused(model(), "rgb", "all")[1] == {"preprocess.color": "grey"}


@pytest.mark.parametrize("tune", ["head", "lora", "adalora"])
def test_frozen_random_layers_are_refused(tune: str):
    message, options = refused(model("resnet", "none"), "auto", tune)
    assert f"train.tune = '{tune}'" in message and options == {"train.tune": "all"}
    assert "darkroom.pretrained add" in message
    put("tiny")
    _, options = refused(model("resnet", "none"), "auto", tune)
    assert options["train.tune"] == "all" and options["model.pretrained"] == "tiny"


def test_frozen_statistics_of_random_weights_are_refused():
    message, options = refused(model("resnet", "none"), "auto", "all", "frozen")
    assert "train.batch_norm = 'frozen'" in message and options == {"train.batch_norm": "train"}


def test_an_automatic_architecture_needs_weights():
    put("tiny")
    message, options = refused(model("timm", "none"), "auto", "all")
    assert "model.timm.architecture = 'auto'" in message
    assert options["model.pretrained"] == "tiny" and options["model.timm.architecture"] == "auto"


def test_unknown_weights_are_refused():
    assert "'huge'" in refused(model(weights="huge"), "auto", "all")[0]
