"""Networks of histories: causal, independent of padding, with and without features of the items."""

import copy
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.models import histories
from darkroom.models.inference import predict
from darkroom.models.registry import OF_HISTORIES, build
from darkroom.models.sequences import PADDING
from tests.histories import ARGUMENTS

LENGTH, ITEMS = 7, 9
HISTORIES = st.lists(st.lists(st.integers(1, ITEMS), min_size=0, max_size=LENGTH), min_size=1, max_size=6)


def network_of(name: str, features: int = 0) -> histories.HistoryNetwork:
    torch.manual_seed(0)
    found = build(name, ARGUMENTS[name], (LENGTH, ITEMS + 1, features), ITEMS).eval()
    torch.nn.init.normal_(found.head.bias)
    if features:
        found.fit_items(np.random.default_rng(0).random((ITEMS, features), np.float32))
    return found


def padded(rows: list[list[int]], length: int = LENGTH) -> np.ndarray:
    return np.array([row + [PADDING] * (length - len(row)) for row in rows], np.int32)


@pytest.mark.parametrize("features", [0, 3])
@pytest.mark.parametrize("name", OF_HISTORIES)
@settings(max_examples=20, deadline=None)
@given(rows=HISTORIES)
def test_logits_depend_neither_on_padding_nor_on_the_batch(name: str, features: int, rows: list[list[int]]):
    network = network_of(name, features)
    together = predict(network, padded(rows), (), ())
    assert together.shape == (len(rows), ITEMS)
    for row, found in zip(rows, together, strict=True):
        alone = network(torch.tensor([row or [PADDING]])).detach().numpy()
        assert found == pytest.approx(alone[0], abs=1e-4)


@pytest.mark.parametrize("features", [0, 3])
@pytest.mark.parametrize("name", OF_HISTORIES)
def test_a_position_knows_the_events_up_to_it_alone(name: str, features: int):
    network, row = network_of(name, features), torch.tensor([[3, 1, 4, 1, 5, 9, 2]])
    states = network.positions(network.embedding(row), row != PADDING)
    for end in range(1, LENGTH + 1):
        assert network(row[:, :end]).detach().numpy() == pytest.approx(
            network.head(states[:, end - 1]).detach().numpy(), abs=1e-4
        )


@pytest.mark.parametrize("features", [0, 3])
def test_scores_of_some_items_are_those_of_all(features: int):
    network = network_of("sasrec", features)
    states, classes = torch.randn(4, 8), torch.tensor([5, 0, 8, 5])
    every = network.head(states)
    assert torch.allclose(network.head.of(states, classes), every[:, classes], atol=1e-6)
    assert torch.allclose(network.head.paired(states, classes), every[range(4), classes], atol=1e-6)


def test_the_weights_of_input_and_output_are_the_same_and_stored_once():
    network = network_of("sasrec", 3)
    names = dict(network.named_parameters())
    assert [name for name in names if "items" in name or name.startswith("head")] == ["head.bias"]
    with torch.no_grad():
        network.embedding.weight[5] += 1
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.embedding.weight[5] += 1  # the copy's head reads the copy's vectors
    states = torch.ones(1, 8)
    assert (other.head(states) - network.head(states)).abs().nonzero()[:, 1].tolist() == [4]


def test_an_item_without_training_events_has_the_vectors_of_its_features_alone():
    network, events = network_of("sasrec", 3), np.array([1, 0, 2, 3, 1, 1, 1, 1, 1])
    network.fit_popularity(events)
    expected = network.embedding.features[2] @ network.embedding.feature_weight
    assert torch.allclose(network.embedding.vectors()[1], expected)
    assert torch.allclose(network.embedding(torch.tensor([2]))[0], expected)
    network(torch.tensor([[1, 2, 3]])).sum().backward()
    changed = network.embedding.weight.grad.abs().sum(1) > 0
    assert changed.tolist() == [False, True, False, *[True] * 7]
    plain = network_of("sasrec")
    plain.fit_popularity(events)  # without features, each keeps its own vector
    assert plain.embedding.vectors()[1].any()


def test_padding_has_no_vector_and_gets_no_gradient():
    network = network_of("sasrec", 2)
    assert not network.embedding(torch.tensor([PADDING])).any()
    network(torch.tensor([[1, 2, PADDING]])).sum().backward()
    assert not network.embedding.weight.grad[PADDING].any()


@pytest.mark.parametrize("features", [0, 3])
@pytest.mark.parametrize("name", OF_HISTORIES)
def test_the_onnx_graph_takes_any_number_and_length(name: str, features: int, tmp_path: Path):
    network = network_of(name, features)
    batch, length = torch.export.Dim("batch", max=2**16), torch.export.Dim("length", max=LENGTH)
    torch.onnx.export(
        network,
        (torch.ones(2, 3, dtype=torch.int64),),
        tmp_path / "network.onnx",
        opset_version=20,
        dynamo=True,
        dynamic_shapes=({0: batch, 1: length},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    for rows in ([[3, 1, 4, 1, 5, 9, 2]], [[1], [2, 3], [4, 5, 6]]):
        given = padded(rows, max(map(len, rows))).astype(np.int64)
        (found,) = session.run(None, {session.get_inputs()[0].name: given})
        assert found == pytest.approx(network(torch.from_numpy(given)).detach().numpy(), abs=1e-4)
