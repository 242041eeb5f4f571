import copy
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from darkroom.bundle import classifier
from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.export.graph import contents, to_onnx
from darkroom.models import checkpoints
from darkroom.models.config import ModelConfig
from darkroom.models.inference import predict
from darkroom.models.layers import last_layer
from darkroom.models.registry import FAMILIES, OF_IMAGES, build
from darkroom.train import flops
from tests.export.small import preprocessing
from tests.networks import OWN, SMALL, small

MODEL = params.load(Path(__file__).parents[2] / "params.yaml", model=ModelConfig)
WITH_STEM = ("resnet", "sprint", "vit")
SMALLEST = {"cnn": 10, "sprint": 8, "resnet": 8, "wide_resnet": 8, "lstm": 2, "vit": 8}


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("cnn", (28, 28, 1), 225_034),
        ("cnn", (32, 32, 3), 315_722),
        ("resnet", (28, 28, 1), 468_058),
        ("resnet", (32, 32, 3), 468_346),
        ("sprint", (28, 28, 1), 61_018),
        ("sprint", (64, 48, 3), 61_306),
        ("wide_resnet", (32, 32, 3), 2_748_890),  # the paper's 2.7 million of WRN-16-4
        ("lstm", (28, 28, 1), 817_674),
        ("vit", (28, 28, 1), 355_610),
        ("torchvision", (32, 32, 3), 11_173_962),  # resnet18, as is usual on CIFAR-10
    ],
)
def test_number_of_parameters_with_the_settings_of_the_project(name, shape, parameters):
    network = build(name, getattr(MODEL, name).model_dump(), shape, 10)
    assert sum(weight.numel() for weight in network.parameters()) == parameters


@pytest.mark.parametrize(("name", "least", "most"), [("vit", 60e6, 65e6), ("wide_resnet", 550e6, 650e6)])
def test_flops_per_image(name, least, most):
    assert least < flops.count(build(name, {}, (28, 28, 1), 10), (28, 28, 1))[0] < most


@pytest.mark.parametrize("name", OF_IMAGES)
def test_parameters_of_a_family_are_the_arguments_of_its_network(name):
    assert (
        list(ModelConfig.model_fields[name].annotation.model_fields)
        == list(inspect.signature(FAMILIES[name]).parameters)[2:]
    )


@given(
    name=st.sampled_from(sorted(OWN)),
    height=st.integers(10, 40),
    width=st.integers(10, 40),
    channels=st.integers(1, 4),
    classes=st.integers(1, 12),
)
@settings(max_examples=15, deadline=None)
def test_any_image_large_enough_gives_a_finite_logit_for_each_class(name, height, width, channels, classes):
    network = small(name, (height, width, channels), classes).eval()
    logits = network(torch.randn(2, channels, height, width))
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (12, 10, 2), (20, 64, 3)])
@pytest.mark.parametrize("name", OF_IMAGES)
def test_head_is_the_last_layer(name, shape):
    network = small(name, shape).eval()
    outputs = []
    last_layer(network).register_forward_hook(lambda module, inputs, output: outputs.append(output))
    logits = network(torch.randn(2, shape[2], *shape[:2]))
    assert logits.shape == (2, 3)
    assert torch.equal(logits, outputs[0])
    assert isinstance(last_layer(network), nn.Linear)


@pytest.mark.parametrize("name", OWN)
def test_images_that_are_too_small_are_rejected_and_the_smallest_accepted(name):
    least = SMALLEST[name]
    assert small(name, (least, least, 1)).eval()(torch.zeros(1, 1, least, least)).shape == (1, 3)
    for shape in ((least - 1, 28, 1), (28, least - 1, 1)):
        size = " x ".join(map(str, shape))
        with pytest.raises(DarkroomError, match=rf"model\.name = '{name}'.*{size}.*at least {least} x {least}"):
            small(name, shape)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_weights_depend_only_on_the_seed(name):
    first, again, other = (small(name, (12, 12, 1), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    last = list(first)[-2]  # the weight of the head
    assert not torch.equal(first[last], other[last])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OWN)
def test_every_weight_but_the_stem_gets_a_gradient(name, precision):
    network = small(name, (12, 12, 1))
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        loss = network(torch.randn(8, 1, 12, 12)).float().square().sum()
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters() if weight.grad is not None)
    without = {key for key, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert without == ({"stem.weight"} if name in WITH_STEM else set())


@pytest.mark.parametrize("name", OWN)
def test_dropout_acts_only_in_training_mode(name):
    network = small(name, (12, 12, 1), dropout=0.5)
    images = torch.randn(4, 1, 12, 12)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


@pytest.mark.parametrize("name", WITH_STEM)
def test_fit_stem_changes_only_the_stem(name):
    network = small(name, (12, 12, 1))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.fit_stem(torch.randn(50, 1, 12, 12))
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"stem.weight"}


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("wide_resnet", {}, (9, 12, 3)),
        ("lstm", {}, (11, 9, 1)),
        ("vit", {}, (12, 9, 3)),
        ("torchvision", {"architecture": "squeezenet1_1"}, (28, 28, 1)),
    ],
)
def test_exported_network_gives_the_same_logits_and_the_same_bytes_twice(name, arguments, shape):
    network = small(name, shape, **arguments)
    network(torch.randn(16, shape[2], *shape[:2]))
    described = checkpoints.Description(
        name=name,
        arguments=SMALL[name] | arguments,
        dataset="toys",
        title="Toys",
        licence="CC0-1.0",
        classes=("a", "b", "c"),
        shape=shape,
        mean=(0.4,) * shape[2],
        std=(0.3,) * shape[2],
        data_sha256="f" * 64,
        params={},
    )
    first, again = (
        contents(to_onnx(some.eval(), described, 1.0, 20), described, 1.0, 0.5, preprocessing(resize="stretch"))
        for some in (network, copy.deepcopy(network))
    )
    assert first == again
    exported = classifier.open_session(first, threads=1)
    for n in (1, 7):
        images = np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)
        expected = predict(network, images, described.mean, described.std)
        logits = classifier.answers(exported, images, batch_size=3)[0]
        np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)
