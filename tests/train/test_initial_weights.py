import re
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save

from darkroom.core.errors import DarkroomError
from darkroom.models.registry import build
from darkroom.train import initial_weights
from darkroom.weights import pretrained
from darkroom.weights.pretrained import Pretrained
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


def remarks(
    weights: Pretrained | None = None, random: tuple[str, ...] = (), examples: int = 400, **changes
) -> list[str]:
    found = replace(manifest(split(4, 1)), **{"shape": (224, 224, 3), **changes})
    return list(initial_weights.remarks(weights, random, "fc", found, examples))


@pytest.mark.parametrize(
    ("examples", "shape", "hinted"),
    [(400, (224, 224, 3), True), (4999, (64, 64, 1), True), (5000, (64, 64, 3), False), (400, (28, 28, 1), False)],
)
def test_few_photos_without_pretrained_weights_get_a_hint(examples: int, shape: tuple, hinted: bool):
    found = remarks(examples=examples, shape=shape)
    assert ["darkroom.recipe finetune" in line for line in found] == [True] * hinted
    assert remarks(examples=400, shape=(17,)) == []  # features


AS_EXPECTED = {"resize": "crop", "interpolation": "bicubic", "crop_fraction": 0.875}


def test_images_as_the_weights_expect_them_need_no_hint():
    assert remarks(replace(WEIGHTS, image_size=224, crop_fraction=0.875), ("fc.weight", "fc.bias"), **AS_EXPECTED) == []


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"shape": (64, 64, 3)}, ["image_size=224"]),
        ({"shape": (224, 200, 3)}, ["image_size=224"]),
        ({"interpolation": "bilinear"}, ["interpolation=bicubic"]),
        ({"resize": "stretch", "crop_fraction": 1.0}, ["resize=crop", "crop_fraction=0.875"]),
    ],
)
def test_a_hint_names_the_parameters_that_differ_from_the_weights_training(changes: dict, options: list[str]):
    (line,) = remarks(replace(WEIGHTS, image_size=224, crop_fraction=0.875), **{**AS_EXPECTED, **changes})
    assert re.findall(r"-S preprocess\.(\S+)", line) == options


def test_a_crop_that_the_weights_do_not_state_is_not_compared():
    assert remarks(replace(WEIGHTS, image_size=224), **{**AS_EXPECTED, "crop_fraction": 1.0}) == []


def test_layers_that_start_at_random_are_named_once_without_the_last():
    (line,) = remarks(
        replace(WEIGHTS, image_size=224),
        ("conv1.weight", "bn1.weight", "bn1.running_var", "encoder.pos_embedding", "fc.weight", "fc.bias"),
        **AS_EXPECTED,
    )
    assert line.endswith(": conv1, bn1, encoder.pos_embedding")
