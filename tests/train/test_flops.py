import torch
from torch import nn

from darkroom.models.registry import build
from darkroom.train import flops


def test_flops_of_the_classic_network_equal_those_by_hand():
    network = build("cnn", {"channels": 32, "hidden_units": 128, "dropout": 0.5}, (28, 28, 1), 10)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second, hidden, head = 26 * 26 * 9 * 32, 11 * 11 * 9 * 32 * 64, 1600 * 128, 128 * 10
    forward = 2 * (first + second + hidden + head)
    assert flops.count(network, (28, 28, 1)) == (forward, 3 * forward - 2 * first)  # no gradient of the images
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_frozen_stem_has_no_backward_pass():
    network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False).requires_grad_(False), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
    stem, head = 2 * 6 * 6 * 9 * 4, 2 * 4 * 6 * 6 * 2
    assert flops.count(network, (8, 8, 1)) == (stem + head, stem + 2 * head)


def test_inputs_need_not_be_images():
    assert flops.count(nn.Linear(5, 3), (5,)) == (2 * 5 * 3, 2 * 2 * 5 * 3)
    assert flops.count(nn.Conv1d(2, 4, 3), (9, 2))[0] == 2 * 7 * 3 * 2 * 4


def test_matrix_peak_is_finite_and_positive():
    assert 0 < flops.matrix_peak(torch.device("cpu"), torch.float32, size=256, seconds=0.01) < float("inf")
