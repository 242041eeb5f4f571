import pytest
import torch
from torch import nn

from darkroom.train import gradients
from darkroom.train.gradients import GradientMonitor, LayerGradients
from tests.networks import small


def two_layers() -> nn.Sequential:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(2))
        network[1].weight.copy_(2 * torch.eye(2))
    return network


def test_norms_and_ratios_are_means_over_the_measured_steps():
    network = two_layers()
    monitor = GradientMonitor(network)
    for size in (3.0, 5.0):
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)
        network[0].weight.grad[0, 0] = size
        with monitor.measure_step(), torch.no_grad():
            network[0].weight[0, 1] += 0.1 * 2**0.5
            network[0].weight.copy_(network[0].weight if size == 3 else torch.eye(2))
    measured = monitor.layers()
    assert list(measured) == ["0", "1"]
    assert measured["0"].gradient_norm == pytest.approx(4.0)
    assert measured["0"].update_ratio == pytest.approx((0.1 + 0.1 / 1.01**0.5) / 2, rel=1e-3)
    assert measured["1"] == (0.0, 0.0)
    monitor.reset()
    assert monitor.layers() == {}


def test_step_with_gradients_that_are_not_finite_is_ignored():
    network = two_layers()
    monitor = GradientMonitor(network)
    for weight in network.parameters():
        weight.grad = torch.full_like(weight, float("inf"))
    with monitor.measure_step():
        pass
    assert monitor.layers() == {}


def test_only_the_weights_of_layers_are_monitored():
    """A class token that starts at zero would seem to explode."""
    monitored = GradientMonitor(small("torchvision", (16, 16, 1), 2, architecture="vit_b_16")).weights
    assert "class_token" not in monitored
    assert "encoder.pos_embedding" not in monitored
    assert {"conv_proj.weight", "encoder.layers.encoder_layer_0.self_attention.in_proj_weight"} <= set(monitored)


def test_warnings_name_the_layers():
    healthy = {"a": LayerGradients(1.0, 1e-3), "b": LayerGradients(1e-3, 1e-3)}
    assert gradients.warnings(healthy) == gradients.warnings({}) == []
    vanish, explode = gradients.warnings({**healthy, "c": LayerGradients(1e-7, 1e-9), "d": LayerGradients(2.0, 1.5)})
    assert vanish.startswith("Vanishing gradients in c: ")
    assert explode.startswith("Exploding updates in d: ")


def test_vanishing_gradients_of_a_deep_network_of_sigmoids_are_found():
    torch.manual_seed(0)
    deep = nn.Sequential(*(layer for _ in range(15) for layer in (nn.Linear(8, 8), nn.Sigmoid())), nn.Linear(8, 2))
    nn.functional.cross_entropy(deep(torch.randn(16, 8)), torch.arange(16) % 2).backward()
    monitor = GradientMonitor(deep)
    with monitor.measure_step():
        pass
    (warning,) = gradients.warnings(monitor.layers())
    assert "in 0, " in warning
    assert "30" not in warning  # the last layer
