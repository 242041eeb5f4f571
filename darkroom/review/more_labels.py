"""What twice the labels would bring, by the learning curve of a revision (`python -m darkroom.learning_curve`)."""

from dataclasses import dataclass

from darkroom.core.errors import DarkroomError
from darkroom.review import lock, recommended, result
from darkroom.review.revision import Revision

FILE = "metrics/learning_curve.json"
DATA = "data/arrays"
FACTOR = "2"  # times the labels


@dataclass(frozen=True)
class MoreLabels:
    """The validation accuracy to expect, or HR@10 of recommendations."""

    measure: str  # accuracy or HR@10
    labels: int
    accuracy: float
    low: float  # 95 % interval
    high: float
    same_recipe: bool  # whether the curve is that of the recipe in dvc.lock


def find(revision: Revision) -> MoreLabels | None:
    """The expectation; None if there is no learning curve, or if it is of other data than dvc.lock says."""
    try:
        numbers = result.numbers(revision, FILE) or {}
        train = lock.stages(revision).get("train", {})
        data = next((entry.get("md5") for entry in train.get("deps", ()) if entry["path"] == DATA), None)
        key = "accuracy" if f"expected.{FACTOR}.accuracy" in numbers else recommended.KEY
        values = [numbers.get(f"expected.{FACTOR}.{name}") for name in ("labels", key, "low", "high")]
        if data is None or numbers.get("data_md5") != data or None in values:
            return None
        measure = "accuracy" if key == "accuracy" else recommended.NAME
        return MoreLabels(measure, *values, numbers.get("recipe") == lock.recipe(revision))
    except DarkroomError:  # a broken file is not a reason to refuse the review
        return None
