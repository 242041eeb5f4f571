"""What trials are compared by: a figure of the validation set, as a score, of which more is better."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """A fraction of the validation examples, or a loss in nats."""

    name: str  # for people
    key: str  # in a record and in metrics/train.json
    is_fraction: bool  # else it is a loss: the score is its negative

    def score(self, measured: Mapping[str, Any]) -> float:
        """The score of a record or a summary of a training."""
        return self.value(float(measured[self.key]))

    def value(self, score: float) -> float:
        """The figure of a score; also the score of a figure."""
        return score if self.is_fraction else -score

    def text(self, score: float) -> str:
        """The figure of a score for people."""
        return f"{score:.2%}" if self.is_fraction else f"{-score:.4f}"

    def interval(self, low: float, high: float) -> str:
        """The interval of the figure, from that of the score."""
        return " to ".join(map(self.text, (low, high) if self.is_fraction else (high, low)))

    def difference(self, change: float) -> str:
        """A difference of scores for people, in units of `unit`."""
        return f"{100 * change:.2f}" if self.is_fraction else f"{change:.4f}"

    @property
    def unit(self) -> str:
        """Of a difference."""
        return "points" if self.is_fraction else "nats"

    @property
    def bounds(self) -> tuple[float, float]:
        """Of a score."""
        return (0.0, 1.0) if self.is_fraction else (-math.inf, 0.0)


ACCURACY = Measure("validation accuracy", "val_accuracy", True)
LOSS = Measure("validation loss", "val_loss", False)
NAMED = {measure.name: measure for measure in (ACCURACY, LOSS)}


def of_kind(kind: str) -> Measure:
    """The measure for examples of a kind: the one by which a training chooses the weights that it keeps."""
    return LOSS if kind == "history" else ACCURACY
