import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from darkroom.bundle.classifier import answers, open_session
from darkroom.export.graph import contents, to_onnx
from darkroom.export.quantisation import quantise, sample
from darkroom.models import checkpoints
from tests.export.small import preprocessing

SHAPE = (8, 8, 1)


class Small(nn.Module):
    """A convolution and a matrix product; some channels have a hundred times larger weights than others."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3)
        with torch.no_grad():
            self.convolution.weight *= torch.tensor([1.0, 10.0, 100.0, 1.0])[:, None, None, None]

    def forward(self, images):
        return self.head(self.convolution(images).relu().amax((2, 3)))


@pytest.fixture(scope="module")
def described():
    return checkpoints.Description(
        "small", {}, "toys", "Toys", "CC0-1.0", ("a", "b", "c"), SHAPE, (0.5,), (0.3,), "f" * 64, {}
    )


@pytest.fixture(scope="module")
def graph(described):
    return to_onnx(Small().eval(), described, 1.0, 20)


def images(n):
    return np.random.default_rng(n).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def test_only_products_are_int8_with_one_scale_per_channel(graph):
    small = quantise(graph, images(64))
    weights = {entry.name: numpy_helper.to_array(entry) for entry in small.graph.initializer}
    scales = {
        node.input[0]: weights[node.input[1]]
        for node in small.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }
    of_convolution = next(scale for name, scale in scales.items() if "convolution.weight" in name)
    assert of_convolution.shape == (4,)
    assert of_convolution[2] > 5 * of_convolution[0]
    assert {weights[name].dtype for name in scales} == {np.dtype("int8"), np.dtype("int32")}  # weights and biases
    quantised = {node.output[0] for node in small.graph.node if node.op_type == "DequantizeLinear"}
    assert all(node.input[0] in quantised for node in small.graph.node if node.op_type in ("Conv", "Gemm"))
    normalising = [node for node in small.graph.node if node.op_type in ("Cast", "Mul", "Add")]
    assert normalising
    assert not any(quantised & {*node.input, *node.output} for node in normalising)


def test_the_clipping_of_relu6_is_int8_so_that_the_ranges_are_those_after_it(described):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    with torch.no_grad():
        network[0].weight *= 100
    small = quantise(to_onnx(network, described, 1.0, 20), images(64))
    values = {entry.name: numpy_helper.to_array(entry) for entry in small.graph.initializer}
    scales = [values[node.input[1]] for node in small.graph.node if node.op_type == "QuantizeLinear"]
    assert any(scale == pytest.approx(6 / 255, rel=0.01) for scale in scales)
    assert max(scales) < 20 / 255  # no range is that of what is cut off, about 100


def test_outputs_stay_close(graph, described):
    given = images(200)
    fp32, int8 = (
        open_session(contents(model, described, 1.0, None, preprocessing()), 1)
        for model in (graph, quantise(graph, images(64)))
    )
    expected, found = (answers(session, given)[0] for session in (fp32, int8))
    # Without VNNI, sums of two products of int8 overflow
    assert 0 < np.abs(found - expected).mean() < 0.05 * np.ptp(expected)


def test_the_same_images_give_the_same_bytes(graph):
    first, again = (quantise(graph, images(64)).SerializeToString(deterministic=True) for _ in range(2))
    assert first == again
    assert onnx.load_from_string(first).opset_import[0].version == 20


def test_a_sample_is_stratified_and_depends_only_on_the_seed():
    labels = np.repeat([0, 1, 2], [600, 300, 3])
    indices = sample(labels, 90, seed=1)
    assert np.bincount(labels[indices]).tolist() == [60, 30, 1]
    assert len(set(indices.tolist())) == len(indices)
    assert np.array_equal(sample(labels, 90, seed=1), indices)
    assert not np.array_equal(sample(labels, 90, seed=2), indices)


def test_a_sample_is_at_most_the_whole_set():
    assert sample(np.array([0, 1, 1]), 500, seed=0).tolist() == [0, 1, 2]
