"""Run the trials of a search, then its finalists, until the budget is spent."""

import gc
import time
from collections.abc import Callable, Iterable
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

from darkroom.core.errors import DarkroomError
from darkroom.search import storage, trials
from darkroom.search.description import Search
from darkroom.search.measure import Measure
from darkroom.search.space import Space
from darkroom.search.trials import Failed, Trials

MAX_FAILURES = 5  # trials that may fail before the first one succeeds
_POLL = 1.0  # seconds between looks at trials of other processes

After = Callable[[optuna.Study, FrozenTrial], None]  # what is done when a trial has finished


def search(study: optuna.Study, objective: Trials, settings: Search, after: After) -> None:
    """Run trials until `settings.trials` have finished or `settings.hours` are spent; call `after` each of them.

    Raises DarkroomError if the first MAX_FAILURES trials all fail.
    """
    points = {_key(sample) for sample in objective.space.points()} if settings.sampler == "grid" else None
    limit = planned(settings, objective.space)

    def is_spent() -> bool:
        done = storage.finished(study)
        if are_hours_spent(settings, done):
            return True
        begun = [*done, *storage.in_state(study, TrialState.RUNNING)]
        keys = {_key(trial.user_attrs.get(trials.SAMPLE)) for trial in begun}
        return (len(begun) if points is None else len(keys & points)) >= limit

    with tqdm(total=limit, desc="search", unit="trial", disable=None) as progress:
        progress.update(min(limit, len(storage.finished(study))))

        def finish(study: optuna.Study, trial: FrozenTrial) -> None:
            tqdm.write(line(trial, objective.measure))
            progress.update(min(limit, len(storage.finished(study))) - progress.n)
            _require_some_success(study)
            after(study, trial)

        _loop(study, objective, is_spent, finish)


def finalists(study: optuna.Study, finals: optuna.Study, objective: Trials, settings: Search) -> None:
    """Train the finalists of `study` once per seed, as trials of the study `finals`.

    What is still queued for finalists or seeds of an earlier run, which are no longer wanted, is dropped.
    """
    complete = storage.in_state(study, TrialState.COMPLETE)
    samples = {trial.number: trial.user_attrs[trials.SAMPLE] for trial in complete}
    wanted = [
        {"trial": trial.number, "seed": seed}
        for trial in trials.leading(study, settings.finalists)
        for seed in settings.seeds
    ]
    for trial in storage.in_state(finals, TrialState.WAITING):
        if trial.system_attrs["fixed_params"] not in wanted:
            storage.drop(finals, trial)
    known = _pairs(finals)
    for pair in wanted:
        if pair not in known:
            finals.enqueue_trial(pair)

    def is_spent() -> bool:
        return not storage.in_state(finals, TrialState.WAITING)

    with tqdm(total=len(wanted), desc="finalists", unit="training", disable=None) as progress:

        def finish(finals: optuna.Study, trial: FrozenTrial) -> None:
            if not trial.params:  # nothing was queued for it
                return
            tqdm.write(
                f"trial {trial.params['trial']} again, seed {trial.params['seed']}: {outcome(trial, objective.measure)}"
            )
            done = [other.params for other in storage.finished(finals)]
            progress.update(sum(pair in done for pair in wanted) - progress.n)

        _loop(finals, objective.finalist(samples), is_spent, finish)


def planned(settings: Search, space: Space) -> int:
    """The number of trials of the whole search; a grid may have fewer combinations than `settings.trials`."""
    return min(settings.trials, len(space.points())) if settings.sampler == "grid" else settings.trials


def are_hours_spent(settings: Search, done: Iterable[FrozenTrial]) -> bool:
    """Whether these trials took all hours that there are for them."""
    return settings.hours is not None and hours(done) >= settings.hours


def hours(done: Iterable[FrozenTrial]) -> float:
    """Hours that these trials took, summed over the processes."""
    return sum(trial.duration.total_seconds() for trial in done) / 3600


def line(trial: FrozenTrial, measure: Measure) -> str:
    """A trial in one line."""
    sample = trial.user_attrs.get(trials.SAMPLE, {})
    values = ", ".join(f"{key} {value}" for key, value in sample.items())
    return f"trial {trial.number}: {outcome(trial, measure)}; {values}"


def outcome(trial: FrozenTrial, measure: Measure) -> str:
    """What became of a trial."""
    seconds = f"{trial.user_attrs.get(trials.SECONDS, 0):.1f} s"
    if trial.state == TrialState.COMPLETE:
        cost = f", cost {number(trial.values[1])}" if len(trial.values) > 1 else ""
        return f"{measure.text(trial.values[0])}{cost}, {seconds}"
    if trial.state == TrialState.PRUNED:
        records = trial.user_attrs[trials.RECORDS]
        return f"pruned at {measure.text(measure.score(records[-1]))} after epoch {len(records)}, {seconds}"
    return f"failed: {trial.user_attrs.get(storage.REASON, 'interrupted')}"


def number(value: float) -> str:
    """A cost for people: four significant digits, or a whole number."""
    return f"{value:,.4g}" if value < 10_000 else f"{value:,.0f}"


def _pairs(finals: optuna.Study) -> list[dict[str, int]]:
    """The trainings of finalists that have a result, are running or are queued: trial and seed."""
    queued = [trial.system_attrs["fixed_params"] for trial in storage.in_state(finals, TrialState.WAITING)]
    begun = [*storage.finished(finals), *storage.in_state(finals, TrialState.RUNNING)]
    return [*queued, *(trial.params for trial in begun)]


def _loop(study: optuna.Study, objective: Callable, is_spent: Callable[[], bool], after: After) -> None:
    """Run trials until the budget is spent and no other process runs one, which may need to be tried again."""
    current: list[int] = []

    def numbered(trial: Trial) -> Any:
        current[:] = [trial.number]
        return objective(trial)

    gc.freeze()  # so that the collection after each trial looks only at what the trials left
    try:
        _repeat(study, numbered, current, is_spent, after)
    finally:
        gc.unfreeze()


def _repeat(
    study: optuna.Study, numbered: Callable, current: list[int], is_spent: Callable[[], bool], after: After
) -> None:
    while True:
        while not is_spent():
            try:
                study.optimize(numbered, n_trials=1, catch=(Failed,), gc_after_trial=True, callbacks=[after])
            except (ValueError, UpdateFinishedTrialError):
                if current[0] not in [trial.number for trial in storage.finished(study)]:
                    raise
                # SQLite may hand one queued trial to two processes: the other one was faster, with the same result
            except BaseException:
                for trial in storage.in_state(study, TrialState.FAIL):
                    if trial.number in current and storage.REASON not in trial.user_attrs:
                        storage.retry(study, trial)
                raise
        if not storage.in_state(study, TrialState.RUNNING):
            return
        storage.fail_stale(study)
        time.sleep(_POLL)


def _require_some_success(study: optuna.Study) -> None:
    done = storage.finished(study)
    failed = [trial for trial in done if trial.state == TrialState.FAIL]
    if len(failed) == len(done) >= MAX_FAILURES:
        reason = failed[-1].user_attrs[storage.REASON]
        raise DarkroomError(f"the first {len(failed)} trials all failed; the last one: {reason}")


def _key(sample: object) -> str:
    return repr(sorted(sample.items())) if isinstance(sample, dict) else ""
