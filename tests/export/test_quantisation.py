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

SHAPE = (8, 8, 1)


class Small(nn.Module):
    """A convolution and a product, with weights of which some channels are a hundred times as large as others."""

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


def pictures(n):
    return np.random.default_rng(n).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def test_products_are_in_8_bits_by_channel_and_nothing_else(graph):
    small = quantise(graph, pictures(64))
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


def test_answers_stay_close(graph, described):
    images = pictures(200)
    whole, small = (
        open_session(contents(model, described, 1.0, None, "stretch"), 1)
        for model in (graph, quantise(graph, pictures(64)))
    )
    expected, found = (answers(session, images)[0] for session in (whole, small))
    assert 0 < np.abs(found - expected).mean() < 0.01 * np.ptp(expected)


def test_the_same_pictures_give_the_same_bytes(graph):
    first, again = (quantise(graph, pictures(64)).SerializeToString(deterministic=True) for _ in range(2))
    assert first == again
    assert onnx.load_from_string(first).opset_import[0].version == 20


def test_a_sample_is_of_every_class_by_its_share_and_depends_on_the_seed_alone():
    labels = np.repeat([0, 1, 2], [600, 300, 3])
    places = sample(labels, 90, seed=1)
    assert np.bincount(labels[places]).tolist() == [60, 30, 1]
    assert len(set(places.tolist())) == len(places)
    assert np.array_equal(sample(labels, 90, seed=1), places)
    assert not np.array_equal(sample(labels, 90, seed=2), places)


def test_a_sample_is_no_more_than_there_is():
    assert sample(np.array([0, 1, 1]), 500, seed=0).tolist() == [0, 1, 2]
