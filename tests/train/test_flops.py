import torch
from torch import nn

from darkroom.models.registry import build
from darkroom.train import flops


def test_operations_of_the_classic_network_by_hand():
    network = build("cnn", {"width": 32, "hidden": 128, "dropout": 0.5}, (28, 28, 1), 10)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second, hidden, head = 26 * 26 * 9 * 32, 11 * 11 * 9 * 32 * 64, 1600 * 128, 128 * 10
    forward = 2 * (first + second + hidden + head)
    assert flops.operations(network, (28, 28, 1)) == (forward, 3 * forward - 2 * first)  # no gradient of the pictures
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_nothing_flows_back_through_a_frozen_stem():
    network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False).requires_grad_(False), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
    stem, head = 2 * 6 * 6 * 9 * 4, 2 * 4 * 6 * 6 * 2
    assert flops.operations(network, (8, 8, 1)) == (stem + head, stem + 2 * head)


def test_the_matrix_peak_is_at_least_a_billion_a_second():
    assert flops.matrix_peak(torch.device("cpu"), torch.float32, size=256, seconds=0.01) > 1e9
