"""Train one sample of the space, or one finalist with a new seed, and record what was measured."""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from darkroom import schema
from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, write_json
from darkroom.models import checkpoints
from darkroom.search import exported, storage
from darkroom.search.description import Search
from darkroom.search.measure import Measure, of_kind
from darkroom.search.space import Space
from darkroom.train import augmented, curves, distillation
from darkroom.train.processes import ALONE
from darkroom.train.setup import build_trainer, describe_training
from darkroom.train.trainer import Trainer

# User attributes of a trial, besides those of the storage
SAMPLE, RECORDS, SECONDS, SUMMARY, EXPORTED = "sample", "records", "training_seconds", "summary", "exported"
KEPT, ORIGIN = "kept", "origin.json"
_EXPECTED = (DarkroomError, MemoryError, RuntimeError)  # divergence; too little memory; what PyTorch refuses


class Failed(Exception):
    """A trial failed for a reason of its own, which it records; the search goes on."""


@dataclass(frozen=True)
class Data:
    """What trials see: the training and the validation split, never the test split."""

    manifest: Manifest
    train: Split
    val: Split
    unlabelled: Split | None = None


@dataclass(frozen=True)
class Trials:
    """The objective of a search: called with a trial, it trains and returns the score and, if any, the cost."""

    search: Search
    space: Space
    data: Data
    folder: Path  # of the search, for the models of the best trials
    origin: str  # a digest of the code and data, stored with these models

    @property
    def measure(self) -> Measure:
        """What trials are compared by."""
        return of_kind(self.data.manifest.kind)

    def __call__(self, trial: Trial) -> tuple[float, ...]:
        """Train one sample. Raises Failed, or TrialPruned if it fell behind."""
        sample = self.space.suggest(trial)
        trial.set_user_attr(SAMPLE, sample)
        with _Recorded(trial):
            chosen = schema.check(self.space.params(sample), f"trial {trial.number}")
            trainer = self._train(trial, chosen, trial.number)
            summary = trainer.summary() | distillation.summary(chosen.train.distill)
            trial.set_user_attr(SUMMARY, summary)
            description = describe_training(chosen.seed, chosen.model, trainer)
            measured: dict[str, Any] = {**summary, "flops": summary["flops_per_image"]}
            if self.search.measures_latency:
                found = exported.measure(
                    trainer.whole, description, self.data.train, self.data.val, chosen.export, chosen.seed
                )
                trial.set_user_attr(EXPORTED, found)
                measured |= found
            self._keep(trial, trainer, description, summary)
        score = self.measure.score(summary)
        return (score,) if self.search.cost == "none" else (score, float(measured[self.search.cost]))

    def finalist(self, samples: Mapping[int, Any]) -> Callable[[Trial], float]:
        """The objective of the finalists: train a trial of `samples` (by its number) with another seed."""

        def objective(trial: Trial) -> float:
            if not _is_queued(trial):  # Optuna began a new one, with random values
                raise Failed("another process took the last queued training")
            number, seed = trial.suggest_int("trial", 0, 2**31), trial.suggest_int("seed", 0, 2**32 - 1)
            with _Recorded(trial):
                if _is_repeated(trial):
                    raise DarkroomError("another process trains the same")
                values = self.space.params(samples[number]) | {"seed": seed}
                trainer = self._train(trial, schema.check(values, f"trial {number}"), None)
                trial.set_user_attr(SUMMARY, trainer.summary())
            return self.measure.score(trainer.summary())

        return objective

    def tidy(self, study: optuna.Study) -> None:
        """Remove the models of trials that are no longer among the best."""
        wanted = {str(trial.number) for trial in leading(study, max(1, self.search.finalists))}
        for path in (self.folder / KEPT).glob("[0-9]*"):
            if path.name not in wanted:
                shutil.rmtree(path, ignore_errors=True)

    def _train(self, trial: Trial, chosen: Any, prune_as: int | None) -> Trainer:
        """A trained trainer; `prune_as` is the trial's number, or None if it must not be pruned."""
        records: list[dict[str, float]] = []
        seconds = 0.0
        try:
            data = self.data
            splits = data.manifest, data.train, data.val, ALONE, data.unlabelled
            trainer = build_trainer(chosen.seed, chosen.model, chosen.train, *splits)
            for record in trainer.epochs():
                records.append(record.curves())
                seconds += record.seconds
                if prune_as is None or not self.search.prunes:
                    continue
                trial.report(self.measure.score(records[-1]), record.epoch)
                if record.epoch < math.ceil(trainer.settings.epochs) and trial.should_prune():
                    raise optuna.TrialPruned
            return trainer
        finally:
            trial.set_user_attr(RECORDS, records)
            trial.set_user_attr(SECONDS, round(seconds, 3))

    def _keep(self, trial: Trial, trainer: Trainer, description: checkpoints.Description, summary: Mapping) -> None:
        """Keep model and metrics, as the stage train would write them, of a trial that is among the best so far."""
        count = max(1, self.search.finalists)
        better = [other for other in leading(trial.study, count) if other.values[0] > self.measure.score(summary)]
        if self.search.cost == "none" and len(better) >= count:
            return
        costs = trainer.costs()
        with new_folder(self.folder / KEPT / str(trial.number)) as folder:
            checkpoints.save(folder / "models/trained", trainer.whole, description, trainer.files)
            augmented.write(folder / "metrics/curves/augmented.png", trainer.batches)
            curves.write(folder / "metrics/curves", trainer.records)
            write_json(folder / "metrics/train.json", summary)
            write_json(folder / "metrics/cost/train.json", {"seconds": costs["training_seconds"], **costs})
            write_json(folder / ORIGIN, {"origin": self.origin})


def leading(study: optuna.Study, count: int) -> list[FrozenTrial]:
    """The best complete trials, best score first: `count`, or with two objectives those of the Pareto front.

    Of a front with more than `count` trials, those are left out that lie closest to their neighbours in score.
    """
    if len(study.directions) == 1:
        complete = storage.in_state(study, TrialState.COMPLETE)
        return sorted(complete, key=lambda trial: (-trial.values[0], trial.number))[:count]
    front = sorted(study.best_trials, key=lambda trial: (-trial.values[0], trial.values[1], trial.number))
    while len(front) > max(count, 2):
        gaps = [front[index - 1].values[0] - front[index + 1].values[0] for index in range(1, len(front) - 1)]
        del front[1 + min(range(len(gaps)), key=gaps.__getitem__)]
    return front[:count]


def _is_queued(trial: Trial) -> bool:
    """Whether the values of a running trial were given when it was queued."""
    running = storage.in_state(trial.study, TrialState.RUNNING)
    return any(other.number == trial.number and "fixed_params" in other.system_attrs for other in running)


def _is_repeated(trial: Trial) -> bool:
    """Whether an earlier trial with these values is running or complete: two processes may queue the same."""
    others = storage.in_state(trial.study, TrialState.RUNNING, TrialState.COMPLETE)
    return any(
        other.number < trial.number and other.system_attrs.get("fixed_params") == trial.params for other in others
    )


class _Recorded:
    """Turns the expected errors of a training into Failed, with the reason stored in the trial."""

    def __init__(self, trial: Trial):
        self.trial = trial

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _EXPECTED):
            reason = " ".join(str(error).split()) or type(error).__name__
            self.trial.set_user_attr(storage.REASON, reason[:500])
            raise Failed(reason) from error
