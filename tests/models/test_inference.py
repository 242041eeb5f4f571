from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from darkroom.models import inference, logits
from darkroom.models.inference import predict


class Sums(nn.Module):
    """Returns the sum of each channel and records the batch sizes; dropout shows whether it is in training mode."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.dropout = nn.Dropout(0.9)
        self.sizes: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(images))
        return self.dropout(images.sum((2, 3)))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 4, 3, 2), dtype=np.uint8)


def test_logits_are_those_of_the_normalised_images_in_order(images: np.ndarray):
    mean, std = (0.5, 0.25), (0.5, 2.0)
    logits = predict(Sums().train(), images, mean, std)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, ((images / 255 - mean) / std).sum((1, 2)), rtol=1e-5)


def test_every_example_counts_for_any_batch_size(images: np.ndarray):
    network = Sums()
    logits = predict(network, images, (0, 0), (1, 1), limit=3)
    assert network.sizes == [3, 3, 1]
    np.testing.assert_array_equal(logits, predict(network, images, (0, 0), (1, 1), limit=100))


def test_batches_of_large_images_are_smaller(images: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    expected = predict(Sums(), images, (0, 0), (1, 1))
    for pixels, sizes in ((4 * 3 * 7, [7]), (40, [3, 3, 1]), (1, [1] * 7)):
        monkeypatch.setattr(inference, "CPU_PIXELS", pixels)
        network = Sums()
        np.testing.assert_array_equal(predict(network, images, (0, 0), (1, 1)), expected)
        assert network.sizes == sizes


def test_a_batch_is_small_on_a_cpu_and_large_on_a_gpu():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    sides = (1, 28, 64, 224, 1000)
    assert [inference.batch_size((side, side, 3), cpu) for side in sides] == [500, 256, 49, 4, 1]
    assert [inference.batch_size((side, side, 3), gpu) for side in sides] == [500, 500, 500, 40, 2]
    assert inference.batch_size((28, 28, 1), cpu, limit=100) == 100


def test_network_is_left_in_evaluation_mode_and_read_only_inputs_are_accepted(images: np.ndarray):
    images.flags.writeable = False
    network = Sums().train()
    predict(network, images, (0, 0), (1, 1))
    assert not network.training


def test_logits_are_float32_in_any_precision(images: np.ndarray):
    network = nn.Sequential(nn.Flatten(), nn.Linear(24, 5))
    exact, rough = (
        predict(network, images, (0, 0), (1, 1), precision) for precision in (torch.float32, torch.bfloat16)
    )
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.05


def test_many_logits_are_in_a_file(images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    expected = predict(Sums(), images, (0, 0), (1, 1), limit=3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logits, "IN_MEMORY", 1)
    found = predict(Sums(), images, (0, 0), (1, 1), limit=3)
    assert isinstance(found.base, np.memmap)
    np.testing.assert_array_equal(found, expected)
