import pytest
import torch
from torch import nn

from darkroom.models import registry
from darkroom.train import gradients


def network() -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        layers[0].weight.copy_(torch.eye(2))
        layers[1].weight.copy_(2 * torch.eye(2))
    return layers


def test_norms_and_ratios_are_means_over_the_steps_looked_at():
    layers = network()
    watch = gradients.Watch(layers)
    for size in (3.0, 5.0):
        for weight in layers.parameters():
            weight.grad = torch.zeros_like(weight)
        layers[0].weight.grad[0, 0] = size
        with watch.step(), torch.no_grad():
            layers[0].weight[0, 1] += 0.1 * 2**0.5
            layers[0].weight.copy_(layers[0].weight if size == 3 else torch.eye(2))
    measured = watch.layers()
    assert list(measured) == ["0", "1"]
    assert measured["0"].gradient_norm == pytest.approx(4.0)
    assert measured["0"].update_ratio == pytest.approx((0.1 + 0.1 / 1.01**0.5) / 2, rel=1e-3)
    assert measured["1"] == (0.0, 0.0)
    watch.reset()
    assert watch.layers() == {}


def test_a_step_with_gradients_that_are_not_finite_is_left_out():
    layers = network()
    watch = gradients.Watch(layers)
    for weight in layers.parameters():
        weight.grad = torch.full_like(weight, float("inf"))
    with watch.step():
        pass
    assert watch.layers() == {}


def test_only_the_weights_of_layers_are_watched():
    """A class token that starts at zero would seem to explode."""
    network = registry.build("torchvision/vit_b_16", {}, (16, 16, 1), 2)
    watched = gradients.Watch(network).weights
    assert "class_token" not in watched and "encoder.pos_embedding" not in watched
    assert {"conv_proj.weight", "encoder.layers.encoder_layer_0.self_attention.in_proj_weight"} <= set(watched)


def test_advice_names_the_layers():
    healthy = {"a": gradients.Layer(1.0, 1e-3), "b": gradients.Layer(1e-3, 1e-3)}
    assert gradients.advice(healthy) == gradients.advice({}) == []
    vanish, explode = gradients.advice({**healthy, "c": gradients.Layer(1e-7, 1e-9), "d": gradients.Layer(2.0, 1.5)})
    assert vanish.startswith("The gradients vanish in c: ")
    assert explode.startswith("The steps explode in d: ")


def test_a_deep_network_of_sigmoids_is_found_to_vanish():
    torch.manual_seed(0)
    deep = nn.Sequential(*(layer for _ in range(15) for layer in (nn.Linear(8, 8), nn.Sigmoid())), nn.Linear(8, 2))
    nn.functional.cross_entropy(deep(torch.randn(16, 8)), torch.arange(16) % 2).backward()
    watch = gradients.Watch(deep)
    with watch.step():
        pass
    sentences = gradients.advice(watch.layers())
    assert len(sentences) == 1
    assert "vanish in 0, " in sentences[0]
    assert "30" not in sentences[0]
