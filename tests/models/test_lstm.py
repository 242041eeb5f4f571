import torch

from tests.networks import small


def test_lstm_reads_rows_in_both_directions():
    network = small("lstm", (9, 6, 1)).eval()
    rows = torch.randn(1, 9, 8, requires_grad=True)
    states = network.lstm(rows)
    for row in (0, 8):
        (gradient,) = torch.autograd.grad(states[0, row].sum(), rows, retain_graph=True)
        assert gradient[0].any(1).all()
