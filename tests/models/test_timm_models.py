import pytest
import torch

from darkroom.core.errors import DarkroomError
from darkroom.models import timm_models
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
    published = timm_models.published("test_resnet")
    network = build("timm", {"architecture": "test_resnet"}, (64, 64, 3), 5)
    differing = {name for name, tensor in network.state_dict().items() if tensor.shape != published[name].shape}
    assert published.keys() == network.state_dict().keys()
    assert differing == {f"{layer}.{kind}" for layer in network.adapted for kind in ("weight", "bias")}


def test_unknown_networks_and_sizes_are_refused():
    with pytest.raises(DarkroomError, match=r"model\.timm\.architecture = 'test_resnt'.*test_resnet"):
        build("timm", {"architecture": "test_resnt"}, (32, 32, 3), 5)
    with pytest.raises(DarkroomError, match=r"model\.name = 'timm' cannot take inputs of 30 x 30 x 3"):
        build("timm", {"architecture": "test_vit"}, (30, 30, 3), 5)
