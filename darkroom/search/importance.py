"""Which parameters mattered: their importance by fANOVA, and whether shuffled results would show as much."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from darkroom.core.randomness import numpy_generator
from darkroom.search.measure import Measure
from darkroom.search.space import Conditions, Space
from darkroom.search.trials import RECORDS

LEAST = 10  # trials in which a parameter is active, for a statement about it
SHUFFLES = 19  # so that chance exceeds all of them in one of twenty searches
_TREES = 16


@dataclass(frozen=True)
class Importance:
    """The fraction of the variance of the score that a parameter alone explains."""

    name: str
    value: float | None  # None: too few trials, or too few different values
    chance: float | None  # the largest importance of any parameter after shuffling the scores
    trials: int
    when: Conditions  # among the trials with these values of other parameters; empty: among all

    @property
    def matters(self) -> bool | None:
        """Whether the importance is larger than shuffled results show; None if it is not known."""
        return None if self.value is None else self.value > self.chance


def importances(study: optuna.Study, space: Space, measure: Measure) -> list[Importance]:
    """The importance of each parameter, the most important first; those that cannot be measured come last.

    Pruned trials count with their last score: without them, only good values of the important parameters would be
    left. Parameters with a condition are measured among the trials in which it holds. Hutter et al., "An efficient
    approach for assessing hyperparameter importance", 2014.
    """
    measurable = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    groups: dict[str, list[str]] = {}
    for name in space.parameters:
        groups.setdefault(repr(space.conditions[name]), []).append(name)
    unconditional = groups.get("{}", [])
    found: list[Importance] = []
    for members in groups.values():
        together = list(dict.fromkeys([*unconditional, *members]))
        active = [trial for trial in measurable if all(name in trial.params for name in together)]
        measured = [name for name in together if len({trial.params[name] for trial in active}) > 1]
        values, chance = _measure(active, measured, measure) if len(active) >= LEAST and measured else ({}, None)
        for name in members:
            value = values.get(name)
            found.append(
                Importance(name, value, None if value is None else chance, len(active), space.conditions[name])
            )
    return sorted(found, key=lambda one: (one.value is None, -(one.value or 0), one.name))


def _measure(active: Sequence[FrozenTrial], names: list[str], measure: Measure) -> tuple[dict[str, float], float]:
    scores = [
        trial.values[0] if trial.state == TrialState.COMPLETE else measure.score(trial.user_attrs[RECORDS][-1])
        for trial in active
    ]
    random, chance = numpy_generator(0, "importances"), []
    for _ in range(SHUFFLES):
        chance.append(max(_fanova(active, names, random.permutation(scores).tolist()).values()))
    return _fanova(active, names, scores), max(chance)


def _fanova(active: Sequence[FrozenTrial], names: list[str], scores: Sequence[float]) -> dict[str, float]:
    study = optuna.create_study(direction="maximize", storage=None)
    for trial, score in zip(active, scores, strict=True):
        kept = {name: trial.params[name] for name in names}
        distributions = {name: trial.distributions[name] for name in names}
        study.add_trial(optuna.trial.create_trial(params=kept, distributions=distributions, value=score))
    if len(set(scores)) == 1:
        return dict.fromkeys(names, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=_TREES, seed=0), params=names)
    return {name: float(value) for name, value in found.items()}
