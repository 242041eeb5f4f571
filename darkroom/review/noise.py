"""How much training again changes the primary metric: from seeds of either side, of earlier commits, or a prior."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.review import lock, prior, result, revision, significance
from darkroom.review.common import Common
from darkroom.review.result import DATA, SEEDS, Result
from darkroom.review.revision import Revision
from darkroom.review.significance import Recipe, Seeds

COMMITS = 200  # of the history that are searched for seeds
WEIGHTS = "models/trained"


@dataclass(frozen=True)
class Noise:
    """What is known about the noise of a retraining, and where from."""

    seeds: tuple[Seeds | None, Seeds | None]  # of the old and the new recipe, where their means can be compared
    earlier: Seeds | None  # seeds whose deviation alone counts
    prior: float  # the standard deviation that a retraining adds, where nothing is known
    source: str  # in words, after "from"
    same_weights: bool  # both sides evaluate one training
    same_recipe: bool  # the trainings differ in the seed or the machine alone

    def compare(self, old: np.ndarray, new: np.ndarray, groups: np.ndarray | None) -> Recipe:
        """The difference of the recipes; old and new (N,) bool are correct predictions, groups (N,) as elsewhere."""
        if self.same_weights:
            return significance.same_weights(old, new, groups)
        return significance.recipe(old, new, self.prior, groups, self.seeds, self.earlier)


def find(old: Result, new: Result, seeds: Sequence[Seeds | None], common: Common) -> Noise:
    """The noise between two results; `seeds` are those of the old and the new recipe, None if there are none."""
    examples, error = _train_examples(old, new), _error(common)
    assumed = prior.retraining_std(examples, error)
    stated = f"a prior for {counted(examples, 'training example')} and an error of {error:.1%}".replace("%", " %")
    if _weights(old.revision) == _weights(new.revision) is not None:
        return Noise((None, None), None, assumed, "one training, which both sides evaluate", True, True)
    trained = all("train" in lock.stages(side.revision) for side in (old, new))
    one_recipe = trained and lock.recipe(old.revision) == lock.recipe(new.revision)
    found = [one if one and one.n > 1 else None for one in seeds]
    if all(found) and one_recipe:
        found[1] = None  # the same seeds again
    known = [(one, side) for one, side in zip(found, (old, new), strict=True) if one]
    named = [f"{counted(one.n, 'seed')} of {side.revision.name}" for one, side in known]
    # Where seeds are those of both recipes, a difference can only lie in the two trainings
    if not one_recipe and any(found) and common.is_all:  # else accuracies are of other examples than the means
        enough = len(known) == 2 and min(one.n for one, _ in known) >= significance.ENOUGH_SEEDS
        return Noise(tuple(found), None, assumed, " and ".join(named if enough else [*named, stated]), False, False)
    earlier = [one for one, _ in known]
    if not earlier:
        earlier = _history(old, new)
        count = counted(sum(one.n for one in earlier), "seed")
        named = [f"{count} of {counted(len(earlier), 'earlier recipe')} on the same data"] if earlier else []
    return Noise((None, None), _pooled(earlier), assumed, " and ".join([*named, stated]), False, one_recipe)


def _train_examples(old: Result, new: Result) -> int:
    counts = [side.metrics.get(DATA, {}).get("train") or len(side.predictions) for side in (old, new)]
    return int(min(counts))


def _error(common: Common) -> float:
    """The mean fraction of incorrect predictions of both sides."""
    return float(np.mean([~one for one in common.correct]))


def _weights(found: Revision) -> str | None:
    """The digest of the trained weights by dvc.lock; None if there was no training."""
    outs = lock.stages(found).get("train", {}).get("outs", ())
    return next((entry.get("md5") for entry in outs if entry["path"] == WEIGHTS), None)


def _history(old: Result, new: Result) -> list[Seeds]:
    """The latest seeds of each recipe in the history that was tried on the same data; [] if there are none."""
    known: dict[str, Seeds] = {}
    for commit in revision.versions(SEEDS, [old.revision, new.revision], COMMITS):
        try:
            numbers = result.numbers(commit, SEEDS) or {}
            facts, params = result.numbers(commit, DATA) or {}, result.parameters(commit)
        except DarkroomError:
            continue  # a broken file in the past
        if _data(params, facts) == _data(new.params, new.metrics.get(DATA, {})) and of(numbers) and numbers["n"] > 1:
            known.setdefault(str(numbers.get("recipe")), of(numbers))
    return list(known.values())


def of(numbers: dict) -> Seeds | None:
    """The seeds that metrics/seeds.json describes; None if it lacks a number."""
    if None in (numbers.get("mean"), numbers.get("n")) or (numbers.get("std") is None and numbers["n"] > 1):
        return None
    return Seeds(float(numbers["mean"]), float(numbers["std"] or 0), int(numbers["n"]))


def _data(params: dict, facts: dict) -> tuple:
    return params.get("data.dataset"), facts.get("train"), facts.get("test")


def _pooled(seeds: Sequence[Seeds]) -> Seeds | None:
    """Seeds with the pooled variance and the degrees of freedom of all; their mean has no meaning."""
    if not seeds:
        return None
    freedom = sum(one.n - 1 for one in seeds)
    variance = sum((one.n - 1) * one.std**2 for one in seeds) / freedom
    return Seeds(float("nan"), float(np.sqrt(variance)), freedom + 1)
