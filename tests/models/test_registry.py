import copy
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from darkroom.bundle import classifier
from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.export.graph import contents, to_onnx
from darkroom.models import checkpoints, config
from darkroom.models.inference import predict
from darkroom.models.layers import WhiteningConv, convolution
from darkroom.models.registry import FAMILIES, build
from darkroom.train.initial_weights import start_from

ROOT = Path(__file__).parents[2]
WITH_STEM = ("resnet", "sprint", "vit")
SMALLEST = {"cnn": 10, "sprint": 8, "resnet": 8, "wide_resnet": 8, "lstm": 2, "vit": 8}
TORCHVISION = "torchvision/shufflenet_v2_x0_5"  # a small one


def small(name, shape, classes=3, seed=0):
    torch.manual_seed(seed)
    return build(name, {"width": 4}, shape, classes)


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
        ("torchvision/resnet18", (32, 32, 3), 11_173_962),  # as is usual on CIFAR-10
    ],
)
def test_number_of_parameters(name, shape, parameters):
    assert sum(weight.numel() for weight in build(name, {}, shape, 10).parameters()) == parameters


def test_parameters_and_networks_agree():
    """Every family has its section in params.yaml, with all of the network's arguments."""
    assert set(config.FAMILIES) == set(FAMILIES)
    for name, family in FAMILIES.items():
        assert (
            list(params.Model.model_fields[name].annotation.model_fields)
            == list(inspect.signature(family).parameters)[2:]
        )


@given(
    name=st.sampled_from(sorted(FAMILIES)),
    height=st.integers(10, 40),
    breadth=st.integers(10, 40),
    channels=st.integers(1, 4),
    classes=st.integers(1, 12),
)
@settings(max_examples=15, deadline=None)
def test_any_picture_large_enough_gives_a_finite_logit_for_each_class(name, height, breadth, channels, classes):
    network = small(name, (height, breadth, channels), classes).eval()
    logits = network(torch.randn(2, channels, height, breadth))
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()
    assert isinstance(network.head, nn.Linear)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (12, 10, 2), (20, 64, 3)])
@pytest.mark.parametrize(
    "name", [*FAMILIES, TORCHVISION, "torchvision/squeezenet1_1"]
)  # squeezenet's last layer is a convolution
def test_head_is_last(name, shape):
    network = (small(name, shape) if name in FAMILIES else build(name, {}, shape, 3)).eval()
    answers = []
    network.head.register_forward_hook(lambda module, inputs, output: answers.append(output))
    logits = network(torch.randn(2, shape[2], *shape[:2]))
    assert logits.shape == (2, 3)
    assert torch.equal(logits, answers[0])
    assert isinstance(network.head, nn.Linear)


@pytest.mark.parametrize("name", FAMILIES)
def test_too_small_pictures_are_refused_and_the_smallest_accepted(name):
    least = SMALLEST[name]
    assert small(name, (least, least, 1)).eval()(torch.zeros(1, 1, least, least)).shape == (1, 3)
    for shape in ((least - 1, 28, 1), (28, least - 1, 1)):
        with pytest.raises(
            DarkroomError,
            match=rf"model\.name = '{name}' cannot take pictures of {shape[0]} x {shape[1]}: it needs at least {least} x {least}",
        ):
            small(name, shape)


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_follow_from_the_seed(name):
    first, again, other = (small(name, (12, 12, 1), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_all_but_the_stem_learn(name, precision):
    network = small(name, (12, 12, 1))
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        loss = network(torch.randn(8, 1, 12, 12)).float().square().sum()
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters() if weight.grad is not None)
    still = {key for key, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert still == ({"stem.weight"} if name in WITH_STEM else set())


@pytest.mark.parametrize("name", FAMILIES)
def test_dropout_acts_in_training_only(name):
    torch.manual_seed(0)
    network = build(name, {"width": 4, "dropout": 0.5}, (12, 12, 1), 3)
    images = torch.randn(4, 1, 12, 12)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


@pytest.mark.parametrize("name", WITH_STEM)
def test_fitting_the_stem_changes_nothing_else(name):
    network = small(name, (12, 12, 1))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.fit_stem(torch.randn(50, 1, 12, 12))
    assert {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])} == {
        "stem.weight"
    }


@pytest.mark.parametrize(("channels", "width"), [(1, 18), (1, 8), (3, 16)])  # 18: every component of a grey patch
def test_fitted_stem_whitens(channels, width):
    torch.manual_seed(0)
    images = (
        nn.functional.avg_pool2d(torch.randn(200, channels, 14, 14), 3, stride=1) + 1
    )  # neighbours correlate, the mean is not 0
    stem = WhiteningConv(channels, width)
    stem.fit(images, epsilon=0.0)
    responses = (
        nn.functional.conv2d(images, stem.weight).movedim(1, 0).flatten(1)
    )  # without padding: the patches of the fit
    half = width // 2
    torch.testing.assert_close(torch.cov(responses[:half], correction=0), torch.eye(half), atol=1e-3, rtol=0)
    assert torch.equal(stem.weight[half:], -stem.weight[:half])
    assert not stem.weight.requires_grad


def test_stem_takes_the_leading_components_in_order():
    torch.manual_seed(0)
    images = torch.randn(500, 1, 3, 3) * torch.arange(1.0, 10.0).reshape(3, 3)  # the last pixel varies most
    stem = WhiteningConv(1, 6)
    stem.fit(images, epsilon=0.0)
    assert stem.weight[:3].flatten(1).argmax(1).tolist() == [8, 7, 6]
    stem.fit(images, epsilon=1e6)  # far above every variance: the filters' lengths are then equal, the directions stay
    torch.testing.assert_close(stem.weight.flatten(1).norm(dim=1), torch.full((6,), 1e-3), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("channels", "width"), [(1, 20), (3, 15)])
def test_stem_refuses_a_width_that_it_cannot_have(channels, width):
    with pytest.raises(
        ValueError, match=f"a whitening stem of {width} channels needs an even number of at most {18 * channels}"
    ):
        WhiteningConv(channels, width)


@pytest.mark.parametrize(("pool", "size"), [(False, (9, 7)), (True, (4, 3))])
def test_convolution_keeps_the_size_or_halves_it(pool, size):
    answer = convolution(2, 5, pool)(torch.randn(3, 2, 9, 7))
    assert answer.shape == (3, 5, *size)
    assert answer.min() == 0  # ReLU


@pytest.mark.parametrize(("name", "least", "most"), [("vit", 60e6, 65e6), ("wide_resnet", 550e6, 650e6)])
def test_operations_a_picture(name, least, most):
    network = build(name, {}, (28, 28, 1), 10).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 28, 28))
    assert least < counter.get_total_flops() < most


def test_vit_knows_where_its_tokens_are():
    network = build("vit", {"width": 8}, (12, 12, 1), 3).eval()
    tokens = torch.randn(1, 9, 8)
    with torch.no_grad():
        assert not torch.allclose(
            network.encoder(tokens + network.positions).flip(1),
            network.encoder(tokens.flip(1) + network.positions),
            atol=1e-3,
        )
        network.positions.zero_()
        torch.testing.assert_close(
            network.encoder(tokens + network.positions).flip(1), network.encoder(tokens.flip(1) + network.positions)
        )


def test_attention_is_that_of_pytorch():
    attention = build("vit", {"width": 12, "heads": 3}, (12, 12, 1), 3).encoder[1].attention[1]
    tokens = torch.randn(2, 9, 12)
    queries, keys, values = (
        part.unflatten(2, (3, 4)).transpose(1, 2) for part in attention.inputs(tokens).chunk(3, dim=2)
    )
    expected = nn.functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(tokens), attention.output(expected))


def test_lstm_reads_in_both_directions():
    network = build("lstm", {"width": 4}, (9, 6, 1), 3).eval()
    rows = torch.randn(1, 9, 8, requires_grad=True)
    states = network.lstm(rows)
    for row in (0, 8):
        (gradient,) = torch.autograd.grad(states[0, row].sum(), rows, retain_graph=True)
        assert gradient[0].any(1).all()


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("wide_resnet", {"width": 1, "depth": 10}, (9, 12, 3)),
        ("lstm", {"width": 4}, (11, 9, 1)),
        ("vit", {"width": 8, "depth": 1}, (12, 9, 3)),
        ("torchvision/squeezenet1_1", {}, (28, 28, 1)),
    ],
)
def test_export_answers_as_the_network_and_has_the_same_bytes_twice(name, arguments, shape):
    torch.manual_seed(0)
    network = build(name, arguments, shape, 3)
    network(torch.randn(16, shape[2], *shape[:2]))
    described = checkpoints.Description(
        name,
        arguments,
        "toys",
        "Toys",
        "CC0-1.0",
        ("a", "b", "c"),
        shape,
        (0.4,) * shape[2],
        (0.3,) * shape[2],
        "f" * 64,
        {},
    )
    first, again = (
        contents(to_onnx(some.eval(), described, 1.0, 20), described, 1.0, 0.5, "stretch")
        for some in (network, copy.deepcopy(network))
    )
    assert first == again
    exported = classifier.open_session(first, threads=1)
    for n in (1, 7):
        images = np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)
        expected = predict(network, images, described.mean, described.std)
        np.testing.assert_allclose(
            classifier.answers(exported, images, batch_size=3)[0], expected, atol=1e-5, rtol=1e-5
        )


def test_torchvision_model_is_as_reproducible_and_learns_as_our_own(tmp_path):
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(build(TORCHVISION, {}, (12, 9, 2), 3))
    first, again, other = (network.state_dict() for network in networks)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])
    network = networks[0]
    network(torch.randn(8, 2, 12, 9)).square().sum().backward()
    assert all(weight.grad.any() for weight in network.parameters())
    twin = copy.deepcopy(network)
    assert twin.head is twin.fc and twin.head is not network.head  # a copy's second name is of its own layer
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "whole.safetensors"
    )
    assert start_from(tmp_path / "whole.safetensors", networks[2]) == []
    assert all(torch.equal(tensor, networks[2].state_dict()[name]) for name, tensor in network.state_dict().items())


def test_torchvision_stem_keeps_small_pictures_and_is_as_it_was_for_large_ones():
    from torchvision.models import resnet18

    with torch.device("meta"):  # shapes without arithmetic
        for side, kept in ((63, 63), (64, 16)):
            network = build("torchvision/resnet18", {}, (side, side, 1), 3)
            stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
            assert stem(torch.zeros(1, 1, side, side)).shape == (1, 64, kept, kept)
        shapes = {
            name: tensor.shape
            for name, tensor in build("torchvision/resnet18", {}, (64, 64, 3), 1000).state_dict().items()
        }
        assert shapes == {name: tensor.shape for name, tensor in resnet18().state_dict().items()}


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
def test_torchvision_models_take_small_pictures(name):
    with torch.device("meta"):
        network = build(f"torchvision/{name}", {}, (28, 28, 1), 7)
        assert network.training
        assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
        assert network.head.out_features == 7


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        (
            "resnet81",
            (28, 28, 1),
            r"torchvision has no such classification model; did you mean torchvision/resnet\d+\?",
        ),
        ("fasterrcnn_resnet50_fpn", (28, 28, 1), "torchvision has no such classification model"),  # finds objects
        ("vgg11", (8, 8, 1), "cannot take pictures of 8 x 8: they are too small"),
        ("vit_b_16", (28, 20, 1), "it needs equal sides that are multiples of 4; choose another model"),
        ("vit_b_16", (100, 100, 1), "it needs equal sides that are multiples of 16"),
        ("maxvit_t", (28, 28, 1), "it needs sides that are multiples of 224"),
    ],
)
def test_torchvision_models_that_do_not_fit_are_refused(name, shape, sentence):
    with torch.device("meta"), pytest.raises(DarkroomError, match=sentence) as caught:
        build(f"torchvision/{name}", {}, shape, 3)
    assert len(str(caught.value).splitlines()) == 1


def test_torchvision_is_imported_only_for_its_own_models():
    code = "import sys, darkroom.models.registry as m; m.build('vit', {}, (28, 28, 1), 2); sys.exit('torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_pretrained_weights_leave_only_stem_and_head_fresh(tmp_path):
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(0)
    given = {
        name: tensor
        for name, tensor in shufflenet_v2_x0_5().state_dict().items()
        if not name.endswith("num_batches_tracked")
    }  # as in old files
    save_file(given, tmp_path / "given.safetensors")
    network = build(TORCHVISION, {}, (28, 28, 1), 3)
    drawn = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert start_from(tmp_path / "given.safetensors", network) == ["conv1.0.weight", "fc.weight", "fc.bias"]
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, drawn[name] if name.startswith(("conv1.0.", "fc.")) else given[name])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"width": 5}, "its features.0.bias is of shape (5,), not (4,), and 4 more differ"),
        ({"classes": 4}, "its head.bias is of shape (4,), not (3,), and 1 more differ"),
        ({"name": "sprint"}, "it lacks "),
        ({"name": TORCHVISION}, "has no place in this one"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, change, sentence):
    path = tmp_path / "given.safetensors"
    name = change.get("name", "cnn")
    other = build(
        name, {} if name == TORCHVISION else {"width": change.get("width", 4)}, (28, 28, 1), change.get("classes", 3)
    )
    save_file(other.state_dict(), path)
    network = small("cnn", (28, 28, 1))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(DarkroomError, match=r"given\.safetensors' holds weights of another network") as caught:
        start_from(path, network)
    assert sentence in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_missing_or_damaged_weights_are_refused(tmp_path):
    network = small("cnn", (12, 12, 1))
    with pytest.raises(DarkroomError, match=r"none\.safetensors' is missing"):
        start_from(tmp_path / "none.safetensors", network)
    path = tmp_path / "given.safetensors"
    save_file(network.state_dict(), path)
    for damaged in (b"", path.read_bytes()[:-1], b"PK\x03\x04 a pickle in a zip archive"):
        path.write_bytes(damaged)
        with pytest.raises(DarkroomError, match=r"given\.safetensors' is no whole \.safetensors file"):
            start_from(path, network)
