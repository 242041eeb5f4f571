import pytest
import torch
from torch import nn

from darkroom.explain import work
from darkroom.models.registry import OF_IMAGES
from tests.networks import small


def test_the_nominal_seconds_of_two_layers_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.Flatten(), nn.Linear(5 * 4 * 6, 7, bias=False))
    outputs, weights = 5 * 4 * 6, 3 * 3 * 3  # of the convolution of an image of 6 x 8, and of each of its outputs
    expected = (2 * outputs * weights + 2 * outputs * 7) / work.FLOPS + (outputs + 7) / work.VALUES
    assert work.seconds(network, (6, 8, 3)) == pytest.approx(expected, rel=1e-9)


def test_a_view_costs_nothing_and_a_depthwise_convolution_its_memory():
    depthwise = nn.Conv2d(16, 16, 3, groups=16, bias=False)
    assert work.seconds(depthwise, (10, 10, 16)) == pytest.approx(
        2 * 16 * 64 * 9 / work.FLOPS + 16 * 64 / work.VALUES, rel=1e-9
    )
    assert work.seconds(nn.Sequential(depthwise, nn.Flatten()), (10, 10, 16)) == work.seconds(depthwise, (10, 10, 16))


@pytest.mark.parametrize("name", OF_IMAGES)
def test_every_family_has_a_cost_and_stays_as_it_is(name: str):
    network = small(name, (32, 32, 3)).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert 0 < work.seconds(network, (32, 32, 3)) < 1
    assert not network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_larger_images_cost_more():
    network = small("resnet", (32, 32, 3))
    assert 3 < work.seconds(network, (64, 64, 3)) / work.seconds(network, (32, 32, 3)) < 4.5
