"""How long the rest of a training takes, measured on its first steps."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tqdm import tqdm

from darkroom.train import cuda_graphs

if TYPE_CHECKING:
    from darkroom.train.trainer import Trainer

WARM_UP = cuda_graphs.WARM_UP + 1  # steps that are not measured: they choose kernels, allocate memory, capture a graph
STEPS, SECONDS = 20, 10.0  # that are measured, whichever is reached first; at least one step


class Estimate:
    """Call it with the trainer after each step: `tell` gets, once, the seconds that remain."""

    def __init__(self, tell: Callable[[float], None]):
        self._tell, self._measured, self._started = tell, -WARM_UP, 0.0

    def __call__(self, trainer: "Trainer") -> None:
        """Count a step. A GPU is waited for at the first and the last one that is measured, and no more."""
        self._measured += 1
        if self._measured == 0:
            self._started = _now(trainer)
        elif 0 < self._measured <= STEPS:
            passed = time.perf_counter() - self._started
            if passed >= SECONDS or self._measured == STEPS:
                self._tell(remaining(trainer) * (_now(trainer) - self._started) / self._measured)
                self._measured = STEPS


def remaining(trainer: "Trainer") -> float:
    """The work that is left, in steps: an example that is only measured takes a third of one that is learned."""
    epochs, done = math.ceil(trainer.settings.epochs), len(trainer.records)
    left = round(trainer.settings.epochs * trainer.batches.steps) - done * trainer.batches.steps - trainer.step
    measured = (epochs - done) * (len(trainer.sample) + len(trainer.val))
    return left + measured / 3 * trainer.batches.steps / trainer.batches.learned


def show(seconds: float) -> None:
    """Print the seconds that remain, above a progress bar."""
    tqdm.write(f"about {seconds:.0f} s of training are left{f', {seconds / 60:.0f} minutes' if seconds >= 120 else ''}")


def _now(trainer: "Trainer") -> float:
    trainer.losses[trainer.step - 1].item()  # waits for a GPU
    return time.perf_counter()
