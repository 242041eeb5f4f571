"""How each kind of example is evaluated: as a classification, or as a ranking of items."""

from collections.abc import Callable

from darkroom.evaluate import classification, recommendation
from darkroom.evaluate.config import EvaluateConfig
from darkroom.evaluate.found import Found
from darkroom.models.checkpoints import Trained

MEASURES: dict[str, Callable[[Trained, EvaluateConfig], Found]] = {
    **dict.fromkeys(classification.KINDS, classification.measure),
    "history": recommendation.measure,
}
