"""What is captured and when, on a CPU: a stand-in for a graph computes again. tests/train/test_cuda.py needs a GPU."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from darkroom.train import cuda_graphs
from darkroom.train.cuda_graphs import Captured
from tests.trainings import NO_AUGMENTATION, recipe, same, trainer


class Graph:
    """Replays by calling the function on the same inputs, and copying its outputs to where the first ones are."""

    def __init__(self, function: Callable, inputs: Sequence[Tensor], outputs: Sequence[Tensor | None]):
        self.function, self.inputs, self.outputs, self.replays = function, inputs, outputs, 0

    def pool(self) -> tuple[int, int]:
        return 0, 1

    def replay(self) -> None:
        self.replays += 1
        for output, new in zip(self.outputs, self.function(*self.inputs), strict=True):
            if output is not None:
                output.copy_(new)


def capture(function: Callable, inputs: Sequence[Tensor], pool: tuple[int, int] | None) -> cuda_graphs._Graph:
    own = [one.clone() for one in inputs]
    outputs = [None if one is None else one.detach().clone() for one in function(*own)]
    return cuda_graphs._Graph(Graph(function, own, outputs), own, outputs)


@pytest.fixture(autouse=True)
def _graphs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda_graphs, "_capture", capture)
    monkeypatch.setattr(cuda_graphs, "_try", lambda function, inputs: (True, function(*inputs)))


def test_a_layout_is_captured_after_its_first_calls_and_then_replayed():
    captured, calls = Captured(), []

    def double(one: Tensor) -> list[Tensor]:
        calls.append(len(one))
        return [2 * one]

    for size in (2, 3):
        for number in range(6):
            assert captured(double, torch.full((size,), float(number)))[0].tolist() == [2.0 * number] * size
    assert [one.graph.replays for one in captured.graphs.values()] == [6 - cuda_graphs.WARM_UP] * 2
    captured(double, torch.zeros(2), key="other")
    assert len(captured.graphs) == 2


def test_only_so_many_layouts_are_captured():
    captured = Captured()
    for size in range(cuda_graphs.MAX_GRAPHS + 3):
        for _ in range(5):
            assert captured(lambda one: [one + 1], torch.zeros(size))[0].tolist() == [1.0] * size
    assert len(captured.graphs) == cuda_graphs.MAX_GRAPHS


@pytest.mark.parametrize("fails", ["try", "capture"])
def test_what_cannot_be_captured_is_called_every_time(monkeypatch: pytest.MonkeyPatch, fails: str):
    def fail(*arguments: object) -> None:
        raise torch.OutOfMemoryError("too little memory")

    if fails == "try":
        monkeypatch.setattr(cuda_graphs, "_try", lambda function, inputs: (False, function(*inputs)))
    else:
        monkeypatch.setattr(cuda_graphs, "_capture", fail)
    captured = Captured()
    for number in range(8):
        assert captured(lambda one: [one + 1], torch.full((2,), float(number)))[0].tolist() == [number + 1.0] * 2
    assert not captured.graphs and not captured.is_capturable


@pytest.mark.parametrize("fails", [False, True])
def test_a_training_that_replays_its_steps_is_the_same_bit_for_bit(monkeypatch: pytest.MonkeyPatch, fails: bool):
    """Batches of 28 and 29 examples, a frozen start, clipped gradients, an average, and gradients after a failure.

    The network has no batch norm, since the stand-in computes when it captures.
    """

    def leave_gradients(function: Callable, inputs: Sequence[Tensor], pool: object) -> None:
        function(*inputs)
        raise RuntimeError("not in a graph")

    if fails:
        monkeypatch.setattr(cuda_graphs, "_capture", leave_gradients)
    augment = NO_AUGMENTATION.model_copy(update={"mixup": 0.2})
    changes = {"optimizer": "muon", "freeze_epochs": 1.0, "grad_clip_norm": 0.5, "ema_decay": 0.9, "augment": augment}
    runs = [trainer(recipe(epochs=4.0, batch_size=31, **changes), "cnn") for _ in range(2)]
    runs[0].captured = Captured()
    for run in runs:
        list(run.epochs())
    assert sum(one.graph.replays for one in runs[0].captured.graphs.values()) == (0 if fails else 24)
    assert same(runs[0].network.state_dict(), runs[1].network.state_dict())
    assert [record.batch_loss for record in runs[0].records] == [record.batch_loss for record in runs[1].records]
