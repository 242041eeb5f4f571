"""Samplers and the pruner of Optuna.

Each trial is sampled with a random state of its own, from the seed and the trial's number, where repetitions of
interrupted trials do not count. So a search that was killed and resumed draws what the uninterrupted one would have, as
long as pruning, where an interrupted trial may count twice, leaves the same trials complete. Processes that share a
storage sample different values.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, BruteForceSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from darkroom.core.randomness import derive_seed
from darkroom.search import storage

Kind = Literal["tpe", "random", "grid"]
REDUCTION = 2  # half of the trials go on at each rung of successive halving: after 1, 2, 4, 8, ... epochs


class Sampler(BaseSampler):
    """TPE, random or grid sampling, seeded by trial."""

    def __init__(self, kind: Kind, seed: int):
        self.kind, self.seed = kind, seed
        self.of_trial = self._new(-1)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        earlier = study.get_trials(deepcopy=False)[: trial.number]
        self.of_trial = self._new(trial.number - sum(storage.RETRY in one.user_attrs for one in earlier))
        self.of_trial.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.of_trial.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.of_trial.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.of_trial.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.of_trial.after_trial(study, trial, state, values)

    def _new(self, number: int) -> BaseSampler:
        seed = derive_seed(self.seed, "search", number) % 2**32
        if self.kind == "random":
            return RandomSampler(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of `group` and of BruteForceSampler
            if self.kind == "grid":
                return BruteForceSampler(seed)
            # multivariate: parameters that depend on each other; group: by condition; constant_liar: other processes
            return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)


def pruner(prunes: bool) -> BasePruner:
    """Asynchronous successive halving by epochs, or none.

    Li et al., "A system for massively parallel hyperparameter tuning", 2020.
    """
    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION) if prunes else NopPruner()
