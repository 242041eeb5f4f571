import io
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.models import timm_models
from darkroom.models.registry import published
from darkroom.pretrained import conversion, descriptions
from tests.networks import SMALL
from tests.pretrained.weights import put, tensors


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def under(prefix: str, given: dict) -> dict:
    return {prefix + name: tensor for name, tensor in given.items()}


def without(part: str, given: dict) -> dict:
    return {name: tensor for name, tensor in given.items() if part not in name}


def convert(contents: bytes, file: str, **changes: Any) -> dict[str, torch.Tensor]:
    folder = put("tiny", contents, file, **changes)
    return load(conversion.convert(folder / file, descriptions.load("tiny")))


@pytest.mark.parametrize(
    ("contents", "file", "changes"),
    [
        (lambda given: save(given), "model.safetensors", {}),
        (lambda given: saved(given), "model.pth", {}),
        (lambda given: saved({"state_dict": given, "epoch": 3}), "model.pth", {}),
        (lambda given: saved({"model": given, "optimizer": {"state": [1]}, "epoch": 3}), "model.pth", {}),
        (lambda given: saved(under("module.", given)), "model.pth", {}),
        (lambda given: saved(under("_orig_mod.module.", given)), "model.pth", {}),
        (lambda given: saved(under("module._orig_mod.", given)), "model.pth", {}),
        (lambda given: saved(under("model.model.", given)), "model.pth", {}),
        (lambda given: save({"loss.weight": torch.ones(2)} | under("model.", given)), "model.safetensors", {}),
        (lambda given: saved(under("_", given)), "model.pth", {"names": "by_order"}),
        (lambda given: saved(without("num_batches", under("_", given))), "model.pth", {"names": "by_order"}),
        (lambda given: saved({name: one.double() for name, one in given.items()}), "model.pth", {}),
        (lambda given: saved(without("num_batches", given)), "model.pth", {}),
    ],
)
def test_every_form_gives_the_networks_names_and_values(contents: Any, file: str, changes: dict):
    given = tensors()
    found = convert(contents(given), file, **changes)
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name], given[name]) and found[name].dtype == given[name].dtype for name in given)
    timm_models.published("test_resnet", 3).load_state_dict(found)


@pytest.mark.parametrize("classes", [0, 7, 21_843])
@pytest.mark.parametrize("family", ["timm", "torchvision"])
def test_the_last_layer_may_have_any_number_of_classes(family: str, classes: int):
    architecture = SMALL[family]["architecture"]
    network = published(family, architecture, 3)
    given, last = network.state_dict(), network.last_layer_name
    features = given[f"{last}.weight"].shape[1]
    for kind, shape in (("weight", (classes, features)), ("bias", (classes,))):
        given[f"{last}.{kind}"] = torch.zeros(shape)
        if not classes:  # only the features
            del given[f"{last}.{kind}"]
    found = convert(save(given), "model.safetensors", family=family, architecture=architecture)
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name], given[name]) for name in given)


@pytest.mark.parametrize("lacking", ["fc.", "num_batches"])
def test_the_order_is_that_of_the_network_without_what_a_file_may_lack(lacking: str):
    given = without("fc.", tensors())
    found = convert(saved(without(lacking, under("layers.", given))), "model.pth", names="by_order")
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name], given[name]) for name in given)


def test_a_network_that_the_library_lacks_is_an_error_of_the_description():
    with pytest.raises(DarkroomError, match=r"data/pretrained/tiny/weights\.yaml: .*no_such_network"):
        convert(save(tensors()), "model.safetensors", architecture="no_such_network")


@pytest.mark.parametrize("family", ["timm", "torchvision"])
def test_the_number_of_channels_is_that_of_the_normalisation(family: str):
    architecture = SMALL[family]["architecture"]
    contents = save(published(family, architecture, 1).state_dict())
    changes = {"family": family, "architecture": architecture}
    assert convert(contents, "model.safetensors", mean=[0.5], std=[0.5], **changes)
    shutil.rmtree("data")
    with pytest.raises(DarkroomError, match=r"has shape .*, 1, 3, 3\), expected .*, 3, 3, 3\)"):
        convert(contents, "model.safetensors", **changes)


def test_a_network_of_our_own_is_checked_in_training():
    found = convert(save({"a": torch.ones(2)}), "model.safetensors", family="sprint", architecture="")
    assert list(found) == ["a"]


@pytest.mark.parametrize(
    ("change", "names", "fact"),
    [
        (lambda given: given.pop("conv1.0.weight") * 0, "same", "conv1.0.weight is missing"),
        (lambda given: given.update(extra=torch.ones(1)), "same", "extra is unknown"),
        (lambda given: given.update({"conv1.0.weight": torch.ones(1)}), "same", "conv1.0.weight has shape (1,)"),
        (lambda given: given.pop("conv1.0.weight") * 0, "by_order", "tensors, expected"),
    ],
)
def test_the_first_difference_to_the_network_is_named(change: Any, names: str, fact: str):
    given = tensors()
    change(given)
    with pytest.raises(DarkroomError) as caught:
        convert(save(given), "model.safetensors", names=names)
    assert fact in str(caught.value) and "timm test_resnet" in str(caught.value)


class _Code:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("executed",)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    ("contents", "file"),
    [
        (saved(_Code()), "model.pth"),
        (saved(nn.Linear(2, 2)), "model.pth"),
        (pickle.dumps(_Code(), protocol=2), "model.pth"),
        (saved([torch.ones(1)]), "model.pth"),
        (saved({}), "model.pth"),
        (saved({"a": 1}), "model.pth"),
        (saved({1: torch.ones(1)}), "model.pth"),
        (saved({"a": torch.ones(1).to_sparse()}), "model.pth"),
        (saved({"model": {"a": {"b": torch.ones(1)}}}), "model.pth"),
        (save({}), "model.safetensors"),
        (b"", "model.pth"),
        (saved({"a": torch.ones(1)})[:-30], "model.pth"),
        (b"", "model.safetensors"),
        (b"\xff" * 100, "model.safetensors"),
    ],
)
def test_what_is_not_a_dictionary_of_tensors_is_refused_and_never_run(contents: bytes, file: str):
    with pytest.raises(DarkroomError, match=r"Tiny: model\."):
        convert(contents or b"x", file)
    assert not Path("executed").exists()
