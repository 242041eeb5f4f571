import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from darkroom.train import mixed_precision
from darkroom.train.mixed_precision import autocast
from darkroom.train.objective import Supervised
from darkroom.train.trainer import Trainer
from tests.networks import small
from tests.trainings import CPU, manifest, recipe, split

STRIDED, LARGE, ORDINARY, GROUPED = (
    {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 8},
    {"kernel_size": 5, "padding": 2, "groups": 8},
    {"kernel_size": 5, "stride": 2, "padding": 2},
    {"kernel_size": 5, "stride": 2, "padding": 2, "groups": 2},
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def images(requires_grad: bool = True) -> Tensor:
    """Random images (4, 8, 9, 9) float32."""
    return torch.randn(4, 8, 9, 9).to(memory_format=torch.channels_last).requires_grad_(requires_grad)


def gradients(layer: nn.Module, inputs: Tensor, precision: torch.dtype = torch.bfloat16) -> tuple[Tensor, list]:
    """The outputs of a copy of the layer, and the gradients of the inputs and parameters of a random loss."""
    layer, inputs = copy.deepcopy(layer), inputs.detach().clone().requires_grad_(inputs.requires_grad)
    with autocast(CPU, precision):
        outputs = layer(inputs)
    factors = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    (outputs.float() * factors).sum().backward()
    return outputs, [inputs.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("geometry", [STRIDED, LARGE, {**STRIDED, "kernel_size": 7, "padding": 3, "dilation": 2}])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_depthwise_convolutions_are_those_of_float32(geometry: dict, bias: bool):
    layer, inputs = nn.Conv2d(8, 8, **geometry, bias=bias), images()
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(inputs)
    outputs, found = gradients(layer, inputs)
    assert torch.equal(outputs, expected)
    for half, single in zip(found, gradients(layer, inputs, torch.float32)[1], strict=True):
        assert half.dtype == torch.float32
        assert (half - single).norm() < 0.01 * single.norm()


def test_slow_gradients_are_computed_in_float32():
    for geometry in (STRIDED, LARGE):
        layer, inputs = nn.Conv2d(8, 8, **geometry, bias=False), images()
        outputs, (of_images, of_weight) = gradients(layer, inputs)
        factors = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1)).bfloat16().float()
        rest = layer.stride, layer.padding, layer.dilation, layer.groups
        if geometry is STRIDED:
            assert torch.equal(of_images, conv2d_input(inputs.shape, layer.weight, factors, *rest))
        else:
            assert torch.equal(of_weight, conv2d_weight(inputs, layer.weight.shape, factors, *rest))


@pytest.mark.parametrize(
    ("geometry", "precision"),
    [(ORDINARY, torch.bfloat16), (GROUPED, torch.bfloat16), (STRIDED, torch.float32), (LARGE, torch.float32)],
)
def test_other_convolutions_and_precisions_keep_their_bits(
    geometry: dict, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    layer, inputs = nn.Conv2d(8, 8, **geometry), images()
    found = gradients(layer, inputs, precision)[1]
    monkeypatch.setattr(mixed_precision, "_conv2d", nn.functional.conv2d)
    for one, other in zip(found, gradients(layer, inputs, precision)[1], strict=True):
        assert torch.equal(one, other)


def test_frozen_weights_and_inputs_get_no_gradients():
    layer = nn.Conv2d(8, 8, **LARGE).requires_grad_(False)
    of_images, *others = gradients(layer, images())[1]
    assert of_images is not None and others == [None, None]
    of_images, *others = gradients(layer.requires_grad_(True), images(requires_grad=False))[1]
    assert of_images is None and all(gradient is not None for gradient in others)


@pytest.mark.parametrize("geometry", [{**LARGE, "padding": "same"}, {**LARGE, "padding_mode": "reflect"}])
def test_other_paddings_work(geometry: dict):
    layer, inputs = nn.Conv2d(8, 8, **geometry), images()
    half, single = (gradients(layer, inputs, precision)[1] for precision in (torch.bfloat16, torch.float32))
    assert all((one - other).norm() < 0.01 * other.norm() for one, other in zip(half, single, strict=True))


def test_integers_and_keywords_are_accepted_as_by_pytorch():
    weight, inputs = torch.randn(8, 1, 5, 5, requires_grad=True), images()
    with autocast(CPU, torch.bfloat16):
        outputs = nn.functional.conv2d(input=inputs, weight=weight, stride=2, padding=2, groups=8)
    outputs.sum().backward()
    assert outputs.dtype == torch.bfloat16 and inputs.grad is not None and weight.grad is not None


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_training_in_bf16_computes_slow_gradients_in_float32(precision: str, monkeypatch: pytest.MonkeyPatch):
    computed = []

    def recording(size: torch.Size, weight: Tensor, gradient: Tensor, *geometry: object) -> Tensor:
        computed.append((weight.dtype, gradient.dtype))
        return conv2d_input(size, weight, gradient, *geometry)

    monkeypatch.setattr(mixed_precision, "conv2d_input", recording)
    network, (train, val) = small("torchvision", (10, 10, 1), 2), (split(64, 1), split(8, 2))  # with depthwise strides
    run = Trainer(network, Supervised(0.0), train, val, manifest(train), recipe(epochs=1.0), 0, CPU, precision)
    list(run.epochs())
    assert set(computed) == ({(torch.float32, torch.float32)} if precision == "bf16" else set())
