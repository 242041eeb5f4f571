import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darkroom.models import sequences
from darkroom.models.inference import predict
from darkroom.models.registry import OF_TEXTS, build

ARGUMENTS = {"bert": {"architecture": "L-1_H-8_A-2"}}
LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=40)


def make(lengths: list[int], seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).integers(1, 50, (len(lengths), 9)).astype(np.int32)
    found[np.arange(9) >= np.array(lengths)[:, None]] = sequences.PADDING
    return found


@given(LENGTHS, st.integers(1, 8), st.integers(1, 30))
def test_batches_hold_every_sequence_once(lengths: list[int], size: int, elements: int):
    parts = list(sequences.batches(make(lengths), size, elements))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(lengths)))
    longest = [max(1, max(lengths[i] for i in part)) for part in parts]
    assert all(
        len(part) <= size and (len(part) == 1 or len(part) * long <= elements)
        for part, long in zip(parts, longest, strict=True)
    )


@given(LENGTHS, st.integers(1, 12), st.integers(1, 3))
def test_an_epoch_has_every_row_of_its_order_in_batches_of_the_right_size(lengths: list[int], steps: int, ratio: int):
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(lengths), generator=generator).repeat(ratio)
    order = order if ratio == 1 else order.view(-1, ratio)
    steps = min(steps, len(order))
    drawn = sequences.grouped(order, np.array(lengths), steps, generator)
    assert sorted(torch.cat(drawn).flatten().tolist()) == sorted(order.flatten().tolist())
    assert [batch.shape for batch in drawn] == [batch.shape for batch in order.tensor_split(steps)]


def test_rows_and_batches_have_examples_of_similar_length():
    found = np.arange(40)[::-1] // 4
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).view(20, 2)
    for batch in sequences.grouped(order, found, 10, torch.Generator().manual_seed(1)):
        assert len(set(found[batch.flatten().numpy()].tolist())) == 1


def test_sequences_are_joined_with_padding_and_images_as_they_are():
    short, long = torch.tensor([[1, 2]]), torch.tensor([[3, 4, 5]])
    assert sequences.joined([short, long]).tolist() == [[1, 2, 0], [3, 4, 5]]
    images = torch.rand(2, 1, 3, 3)
    assert torch.equal(sequences.joined([images, images]), torch.cat([images, images]))


@pytest.mark.parametrize("name", OF_TEXTS)
def test_logits_do_not_depend_on_padding_or_on_the_batch(name: str):
    torch.manual_seed(0)
    network = build(name, ARGUMENTS.get(name, {}), (9, 50), 3).eval()
    inputs = make([9, 1, 4, 6, 4, 2])
    together = predict(network, inputs, (), ())
    alone = np.concatenate([predict(network, inputs[row : row + 1], (), ()) for row in range(len(inputs))])
    padded = network(torch.from_numpy(np.pad(inputs, ((0, 0), (0, 3)))[1:2, :9]).long()).detach().numpy()
    assert together == pytest.approx(alone, abs=1e-5)
    assert padded == pytest.approx(together[1:2], abs=1e-5)
