from pathlib import Path
from typing import Any

import pytest

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.models.config import ModelConfig
from darkroom.models.registry import FAMILIES

MODEL = params.read(Path(__file__).parents[2] / "params.yaml")["model"]


def checked(**changes: Any) -> ModelConfig:
    return params.validate(ModelConfig, {**MODEL, **changes}, "params.yaml", "model")


def test_families_are_those_of_the_registry():
    assert set(ModelConfig.families()) == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_the_registry_can_be_chosen(name: str):
    assert checked(name=name).arguments() == MODEL[name]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("resnot", "did you mean resnet"),
        ("timm/resnet50", "model.timm.architecture = resnet50"),
        ("torchvision/resnet18", "model.torchvision.architecture = resnet18"),  # the earlier way to write it
        ("quux", ", ".join(FAMILIES)),
    ],
)
def test_unknown_name_is_rejected_with_advice(name: str, advice: str):
    with pytest.raises(DarkroomError) as caught:
        checked(name=name)
    assert f"model.name = '{name}'" in str(caught.value)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("family", "old", "new"),
    [
        ("cnn", "width", "channels"),
        ("cnn", "hidden", "hidden_units"),
        ("sprint", "width", "channels"),
        ("resnet", "width", "channels"),
        ("wide_resnet", "width", "widen_factor"),
        ("lstm", "width", "hidden_size"),
        ("vit", "width", "embed_dim"),
    ],
)
def test_earlier_name_of_a_parameter_is_rejected_with_its_new_name(family: str, old: str, new: str):
    section = {**MODEL[family], old: MODEL[family][new]}
    del section[new]
    with pytest.raises(DarkroomError, match=rf"model\.{family}\.{old}\b.*model\.{family}\.{new}\b") as caught:
        checked(**{family: section})
    assert len(str(caught.value).splitlines()) == 1


def test_sizes_that_a_network_cannot_have_are_rejected():
    with pytest.raises(DarkroomError, match=r"model\.wide_resnet\.depth = 17.*6 n \+ 4"):
        checked(wide_resnet={**MODEL["wide_resnet"], "depth": 17})
    with pytest.raises(DarkroomError, match=r"model\.vit.*heads = 3.*embed_dim = 128"):
        checked(vit={**MODEL["vit"], "heads": 3})
