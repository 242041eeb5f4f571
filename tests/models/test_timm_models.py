import pytest
import torch

from darkroom.core.errors import DarkroomError
from darkroom.models import timm_models
from darkroom.models.fitting import require_fit
from darkroom.models.layers import last_layer
from darkroom.models.registry import build


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "test_vit"])
@pytest.mark.parametrize("shape", [(32, 32, 3), (64, 64, 1)])
def test_a_network_fits_the_images_and_classes(architecture: str, shape: tuple[int, ...]):
    torch.manual_seed(0)
    network = build("timm", {"architecture": architecture}, shape, 5)
    assert network.training
    logits = network(torch.randn(2, shape[2], *shape[:2]))
    assert logits.shape == (2, 5)
    logits.sum().backward()
    assert last_layer(network).weight.shape[0] == 5 and last_layer(network).weight.grad is not None
    assert not any(name.startswith("head.head") for name in network.state_dict())


def test_only_the_last_layer_differs_from_the_published_network():
    published = timm_models.published("test_resnet", 3).state_dict()
    network = build("timm", {"architecture": "test_resnet"}, (64, 64, 3), 5)
    differing = {name for name, tensor in network.state_dict().items() if tensor.shape != published[name].shape}
    assert published.keys() == network.state_dict().keys()
    assert differing == {f"{layer}.{kind}" for layer in network.adapted for kind in ("weight", "bias")}


def test_unknown_networks_and_sizes_are_refused():
    with pytest.raises(DarkroomError, match=r"model\.timm\.architecture = 'test_resnt'.*test_resnet"):
        build("timm", {"architecture": "test_resnt"}, (32, 32, 3), 5)
    with pytest.raises(DarkroomError, match=r"model\.name = 'timm' cannot take inputs of 30 x 30 x 3"):
        build("timm", {"architecture": "test_vit"}, (30, 30, 3), 5)


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mixer_s32_224"])
def test_a_transformer_must_see_every_pixel(architecture: str):
    with (
        torch.device("meta"),
        pytest.raises(DarkroomError, match=r"inputs of 48 x 225 x 1: its patches of (\d+) x \1 "),
    ):
        build("timm", {"architecture": architecture}, (48, 225, 1), 5)


@pytest.mark.parametrize("architecture", ["gcvit_xxtiny", "maxvit_nano_rw_256", "mvitv2_tiny"])
def test_sizes_that_a_network_cannot_be_built_for_are_refused(architecture: str):
    with (
        torch.device("meta"),
        pytest.raises(DarkroomError, match=r"model\.name = 'timm' cannot take inputs of 28 x 28"),
    ):
        build("timm", {"architecture": architecture}, (28, 28, 1), 5)


class _Fails(torch.nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, ZeroDivisionError, IndexError, AssertionError])
def test_any_error_of_a_network_for_a_size_is_explained(kind: type[Exception]):
    network = _Fails()
    network.error = kind()
    with pytest.raises(ValueError, match=rf"too small.*\({kind.__name__}\)"):
        require_fit(network, (8, 8, 3), 5)


@pytest.mark.parametrize(
    "architecture",
    [
        "convnext_atto",
        "efficientnet_lite0",
        "mobilenetv3_small_050",
        "regnetx_002",
        "resnet18",
        "swin_tiny_patch4_window7_224",
        "test_byobnet",
        "test_convnext",
        "test_nfnet",
        "vit_tiny_patch16_224",
    ],
)
def test_the_last_layer_of_real_networks_is_found(architecture: str):
    with torch.device("meta"):
        network = build("timm", {"architecture": architecture}, (224, 224, 3), 7)
    assert last_layer(network).out_features == 7
    assert network.last_layer_name == network.adapted[0]


@pytest.mark.parametrize(("architecture", "found"), [("deit_tiny_distilled_patch16_224", "tuple"), ("dla34", "Conv2d")])
def test_a_network_without_one_linear_last_layer_is_refused(architecture: str, found: str):
    with torch.device("meta"), pytest.raises(DarkroomError, match=rf"one linear layer.* gives {found}.*resnet50"):
        build("timm", {"architecture": architecture}, (224, 224, 3), 5)


class _Pairs(torch.nn.Linear):
    """Gives two outputs, as networks with auxiliary classifiers do."""

    def forward(self, inputs: torch.Tensor) -> tuple:
        return super().forward(inputs.flatten(1)), inputs


@pytest.mark.parametrize("network", [torch.nn.Conv2d(3, 5, 3), torch.nn.Flatten(0), _Pairs(192, 5)])
def test_a_network_that_gives_anything_but_logits_is_refused(network: torch.nn.Module):
    with pytest.raises(ValueError, match=r"expected logits of the shape \(1, 5\)"):
        require_fit(network, (8, 8, 3), 5)
