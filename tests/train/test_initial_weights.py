from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save

from darkroom.core.errors import DarkroomError
from darkroom.models.registry import build
from darkroom.train import initial_weights
from darkroom.weights import pretrained
from tests.trainings import MODEL, manifest, split
from tests.weights.test_pretrained import DESCRIBED

TIMM = MODEL.model_copy(
    update={"name": "timm", "pretrained": "big", "timm": MODEL.timm.model_copy(update={"architecture": "auto"})}
)
WEIGHTS = replace(DESCRIBED, family="timm", architecture="test_resnet", mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_random_weights_need_no_folder():
    assert initial_weights.find(MODEL) is None
    assert initial_weights.arguments(MODEL, None) == MODEL.arguments()


def test_the_weights_must_be_those_of_the_parameter():
    pretrained.write(pretrained.FOLDER, None)
    with pytest.raises(DarkroomError, match=r"model\.pretrained = 'big'.*dvc repro pretrained"):
        initial_weights.find(TIMM)
    network = build("timm", {"architecture": "test_resnet"}, (32, 32, 3), 2)
    pretrained.write(pretrained.FOLDER, WEIGHTS, save(network.state_dict()))
    assert initial_weights.find(TIMM) == WEIGHTS
    with pytest.raises(DarkroomError, match="'other'"):
        initial_weights.find(TIMM.model_copy(update={"pretrained": "other"}))


def test_the_architecture_may_be_that_of_the_weights():
    assert initial_weights.arguments(TIMM, WEIGHTS) == {"architecture": "test_resnet"}
    with pytest.raises(DarkroomError, match=r"model\.timm\.architecture = 'auto' needs model\.pretrained"):
        initial_weights.arguments(TIMM, None)
    with pytest.raises(DarkroomError, match=r"is for model\.name = timm, not sprint"):
        initial_weights.arguments(TIMM.model_copy(update={"name": "sprint"}), WEIGHTS)


def test_the_images_are_normalised_as_in_the_training_of_the_weights():
    grey = manifest(split(4, 1))
    with pytest.raises(DarkroomError, match=r"3 channels.* have 1: set preprocess\.color = rgb"):
        initial_weights.normalised(WEIGHTS, grey)
    found = initial_weights.normalised(WEIGHTS, replace(grey, shape=(8, 8, 3)))
    assert (found.mean, found.std) == (WEIGHTS.mean, WEIGHTS.std)
