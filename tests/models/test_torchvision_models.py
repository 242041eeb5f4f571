import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.models.layers import last_layer
from darkroom.models.registry import build, published
from tests.networks import small

ROOT = Path(__file__).parents[2]


def architecture(name: str, shape: tuple[int, ...], classes: int = 3) -> nn.Module:
    return build("torchvision", {"architecture": name}, shape, classes)


def test_every_weight_gets_a_gradient_and_a_copy_has_a_head_of_its_own():
    network = small("torchvision", (12, 9, 2))
    network(torch.randn(8, 2, 12, 9)).square().sum().backward()
    assert all(weight.grad.any() for weight in network.parameters())
    twin = copy.deepcopy(network)
    assert last_layer(twin) is twin.fc
    assert last_layer(twin) is not last_layer(network)


def test_squeezenet_whose_last_layer_is_a_convolution_gets_a_linear_head():
    network = architecture("squeezenet1_1", (28, 28, 1)).eval()
    outputs = []
    last_layer(network).register_forward_hook(lambda module, inputs, output: outputs.append(output))
    assert torch.equal(network(torch.zeros(2, 1, 28, 28)), outputs[0])
    assert isinstance(last_layer(network), nn.Linear)


def test_stem_keeps_the_size_of_small_images_and_is_the_original_for_large_ones():
    from torchvision.models import resnet18

    with torch.device("meta"):  # shapes without arithmetic
        for side, kept in ((63, 63), (64, 16)):
            network = architecture("resnet18", (side, side, 1))
            stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
            assert stem(torch.zeros(1, 1, side, side)).shape == (1, 64, kept, kept)
        weights = architecture("resnet18", (64, 64, 3), 1000).state_dict()
        expected = resnet18().state_dict()
    assert {name: tensor.shape for name, tensor in weights.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "convnext_tiny",
        "densenet121",
        "googlenet",
        "inception_v3",
        "mobilenet_v3_small",
        "swin_t",
        "vgg11_bn",
        "vit_b_16",
    ],
)
def test_small_images_are_accepted(name):
    with torch.device("meta"):
        network = architecture(name, (28, 28, 1), 7)
        assert network.training
        assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
        assert last_layer(network).out_features == 7


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet81", (28, 28, 1), r"architecture = 'resnet81'.* resnet\d+\?"),
        ("fasterrcnn_resnet50_fpn", (28, 28, 1), "architecture = 'fasterrcnn_resnet50_fpn'"),  # a detector
        ("vgg11", (8, 8, 1), "8 x 8 x 1: .*too small"),
        ("vit_b_16", (28, 20, 1), "equal sides .*multiples of 4"),
        ("vit_b_16", (100, 100, 1), "equal sides .*multiples of 16"),
        ("maxvit_t", (28, 28, 1), "multiples of 224"),
    ],
)
def test_unknown_architectures_and_unsuitable_sizes_are_rejected(name, shape, message):
    with torch.device("meta"), pytest.raises(DarkroomError, match=message) as caught:
        architecture(name, shape)
    assert len(str(caught.value).splitlines()) == 1


def test_torchvision_is_imported_only_for_its_own_models():
    code = (
        "import sys, darkroom.models.registry as registry; registry.build('vit', {}, (28, 28, 1), 2); "
        "sys.exit('torchvision' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_published_networks_give_no_warning(name: str):
    with torch.device("meta"):
        assert published("torchvision", name, 3).last_layer_name == "fc"
