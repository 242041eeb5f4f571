import pytest
import torch
from torch import Tensor, nn

from darkroom.train import batch_norm
from darkroom.train.processes import ALONE, Processes


def network(momentum: float | None = 0.1) -> nn.Module:
    layers = [nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, momentum=momentum), nn.Flatten(), nn.BatchNorm1d(12)]
    return nn.Sequential(*layers)


def buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


@pytest.mark.parametrize("momentum", [0.1, 0.9, None])
def test_statistics_are_those_of_the_parts_one_after_the_other(momentum: float | None):
    plain = network(momentum)
    apart = network(momentum)
    apart.load_state_dict(plain.state_dict())
    for _ in range(3):
        parts = torch.randn(9, 2, 2, 2).tensor_split(2)
        outputs = [plain(part) for part in parts]
        with batch_norm.in_parts(apart, ALONE) as end_part:
            for part, output in zip(parts, outputs, strict=True):
                assert torch.equal(apart(part), output)
                end_part()
    assert [layer.momentum for layer in (apart[1], apart[3])] == [momentum, 0.1]
    torch.testing.assert_close(buffers(apart), buffers(plain))


def test_parts_of_other_processes_come_in_the_order_of_their_ranks(monkeypatch: pytest.MonkeyPatch):
    alone, shared = network(), network()
    shared.load_state_dict(alone.state_dict())
    parts = torch.randn(9, 2, 2, 2).tensor_split(3)
    seen = []
    for part in parts:  # what each process would send
        other = network()
        other.load_state_dict(alone.state_dict())
        with batch_norm.in_parts(other, ALONE) as end_part:
            other(part)
            monkeypatch.setattr(Processes, "gather", lambda self, own: seen.append(own) or own[None])
            end_part()
        monkeypatch.undo()
    with batch_norm.in_parts(alone, ALONE) as end_part:
        for part in parts:
            alone(part)
            end_part()
    monkeypatch.setattr(Processes, "gather", lambda self, own: torch.stack(seen))
    with batch_norm.in_parts(shared, Processes(1, 3)) as end_part:
        shared(parts[1])
        end_part()
    assert all(torch.equal(one, buffers(alone)[name]) for name, one in buffers(shared).items())


def test_frozen_statistics_stay_as_they_are():
    frozen = network().eval()
    before = buffers(frozen)
    with batch_norm.in_parts(frozen, ALONE) as end_part:
        frozen(torch.randn(4, 2, 2, 2))
        end_part()
    assert all(torch.equal(one, before[name]) for name, one in buffers(frozen).items())
