from itertools import chain

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import group_parameters
from torch import nn

from darkroom.models.registry import OF_IMAGES
from darkroom.train import layers
from darkroom.train.optimisers import Optimisers
from tests.networks import small
from tests.trainings import recipe


def named(network: nn.Module) -> list[list[str]]:
    """The names of the parameters by block."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return [[names[id(parameter)] for parameter in block] for block in layers.blocks(network)]


@pytest.mark.parametrize("name", OF_IMAGES)
def test_blocks_hold_every_parameter_once_and_end_with_the_last_layer(name: str):
    network = small(name, (12, 12, 1))
    found = named(network)
    assert sorted(chain(*found)) == sorted(name for name, _ in network.named_parameters())
    last = getattr(network, "last_layer_name", "head")
    assert found[-1] == [f"{last}.weight", f"{last}.bias"]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet50", "efficientnet_lite0"])
def test_blocks_are_those_of_timm(name: str):
    """But for a last convolution and norms, which timm may put into a block of their own."""
    with torch.device("meta"):
        network = timm.create_model(name)
    network.last_layer_name = {"resnet50": "fc", "efficientnet_lite0": "classifier"}.get(name, "head")
    theirs = [set(block) for block in group_parameters(network, network.group_matcher(coarse=False)).values()]
    matched = [set(block) in theirs for block in named(network)]
    assert sum(matched) >= len(matched) - 2
    assert abs(len(theirs) - len(matched)) <= 1


def test_members_of_sequences_are_blocks_and_norms_belong_to_the_block_before():
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)), nn.Linear(2, 2)
    )
    network.last_layer_name = "3"
    network.register_parameter("token", nn.Parameter(torch.zeros(1)))
    assert named(network) == [
        ["token", "0.weight", "0.bias", "1.weight", "1.bias"],
        ["2.0.weight", "2.0.bias"],
        ["2.1.weight", "2.1.bias"],
        ["3.weight", "3.bias"],
    ]


def test_the_blocks_of_an_encoder_are_blocks_of_the_network():
    found = named(small("torchvision", (16, 16, 1), architecture="vit_b_16"))
    assert [block[0].rsplit(".", 2)[0] for block in found[1:-1]] == [
        f"encoder.layers.encoder_layer_{number}" for number in range(12)
    ]
    assert {"class_token", "conv_proj.weight", "encoder.pos_embedding"} <= set(found[0])


@settings(max_examples=30, deadline=None)
@given(decay=st.floats(0.01, 1), depth=st.integers(1, 10))
def test_the_factor_falls_by_the_decay_from_block_to_block(decay: float, depth: int):
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(depth + 1)))
    network.last_layer_name = str(depth)
    found = layers.decay_factors(network, decay)
    assert len(found) == 2 * (depth + 1)
    for number, layer in enumerate(network):
        assert found[layer.weight] == found[layer.bias] == decay ** (depth - number)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_every_optimiser_takes_smaller_steps_in_earlier_blocks(optimizer: str):
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    network.last_layer_name = "2"
    for layer in network:
        layer.load_state_dict(network[0].state_dict())
    stepped = Optimisers(network, recipe(optimizer=optimizer, layer_decay=0.5, weight_decay=0.0))
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for weight in network.parameters():
        weight.grad = torch.eye(4) if weight.ndim == 2 else torch.ones(4)
    assert stepped.step(0.1, torch.amp.GradScaler("cpu", enabled=False))
    sizes = {name: (weight - before[name]).norm().item() for name, weight in network.named_parameters()}
    assert sizes["1.bias"] == pytest.approx(2 * sizes["0.bias"], rel=1e-3)
    assert sizes["2.bias"] == pytest.approx(2 * sizes["1.bias"], rel=1e-3)
    assert sizes["1.weight"] == pytest.approx(2 * sizes["0.weight"], rel=1e-3)


def test_without_decay_there_are_as_few_groups_as_before():
    counts = [len(member.param_groups) for member in Optimisers(small("resnet", (8, 8, 1)), recipe()).members]
    assert counts == [2]
