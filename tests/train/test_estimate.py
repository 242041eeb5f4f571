import time
from types import SimpleNamespace

import pytest
import torch

from darkroom.train import estimate
from darkroom.train.estimate import STEPS, WARM_UP, Estimate
from tests.trainings import recipe, same, trained, trainer


class Clock:
    """Each step of a training takes `step` seconds, the first ones much longer."""

    def __init__(self, step: float):
        self.step, self.taken = step, 0

    def perf_counter(self) -> float:
        return 100.0 * min(self.taken, WARM_UP) + self.step * self.taken


def told(clock: Clock, run: SimpleNamespace, steps: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """The steps after which something was told, and the seconds."""
    monkeypatch.setattr(estimate, "time", clock)
    found = []
    watch = Estimate(lambda seconds: found.append((clock.taken, seconds)))
    for _ in range(steps):
        clock.taken, run.step = clock.taken + 1, run.step + 1
        watch(run)
    return found


def run_of(epochs: float, steps: int, measured: int = 0) -> SimpleNamespace:
    batches = SimpleNamespace(steps=steps, learned=10 * steps)
    sample = range(measured)
    return SimpleNamespace(
        settings=SimpleNamespace(epochs=epochs), batches=batches, records=[], step=0, losses=torch.zeros(steps),
        sample=sample, val=sample,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("step", "after"),
    [(0.1, WARM_UP + STEPS), (3.0, WARM_UP + 4), (60.0, WARM_UP + 1)],
    ids=["fast", "slow", "slowest"],
)
def test_the_seconds_that_remain_are_told_once_soon_and_without_the_first_steps(
    step: float, after: int, monkeypatch: pytest.MonkeyPatch
):
    assert told(Clock(step), run_of(2.5, 40), 40, monkeypatch) == [(after, pytest.approx((100 - after) * step))]


def test_measuring_counts_for_every_epoch_that_is_left():
    run = run_of(2.0, 40, measured=60)  # an example of 10 in a batch takes a thirtieth of a step
    run.step = 10
    assert estimate.remaining(run) == pytest.approx(70 + 2 * 120 / 30)
    run.records = [None]
    assert estimate.remaining(run) == pytest.approx(30 + 120 / 30)


def test_a_training_too_short_to_measure_tells_nothing(monkeypatch: pytest.MonkeyPatch):
    assert told(Clock(0.1), run_of(1.0, 10), 10, monkeypatch) == []


def test_the_estimate_changes_no_weight_and_fits_the_training():
    run, found = trainer(recipe(epochs=6.0)), []
    run.after_step = Estimate(lambda seconds: found.append((time.perf_counter(), seconds)))
    list(run.epochs())
    assert len(found) == 1 and found[0][1] > 0
    assert same(run.network.state_dict(), trained(recipe(epochs=6.0)))
