import torch
from torch import nn

from darkroom.models.registry import build
from darkroom.train import sharding
from tests.networks import OWN, small


def names(network: nn.Module) -> list[str]:
    found = [id(block) for block in sharding.blocks(network)]
    return [name for name, module in network.named_modules() if id(module) in found]


def test_blocks_are_the_large_members_of_sequences():
    found = names(build("torchvision", {"architecture": "vit_b_16"}, (224, 224, 3), 10))
    assert [name for name in found if "encoder_layer" in name] == found
    assert len(found) == 12
    found = names(build("torchvision", {"architecture": "resnet50"}, (64, 64, 3), 10))
    assert {"layer3.0", "layer4.2"} <= set(found)
    assert "layer4" not in found and "layer4.2.conv1" not in found


def test_no_block_is_part_of_another():
    for name in OWN:
        found = names(small(name, (10, 10, 1), 2))
        assert not any(inner.startswith(f"{outer}.") for inner in found for outer in found)


def test_ordinary_tensors_are_whole():
    tensor = torch.ones(3)
    assert not sharding.is_sharded(tensor)
    assert sharding.whole(tensor) is tensor
    assert sharding.part_of(tensor, torch.zeros(3)) is tensor
