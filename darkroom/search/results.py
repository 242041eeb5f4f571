"""The result of a search as numbers, for JSON and for the report."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from scipy.special import stdtrit

from darkroom.search import storage, trials
from darkroom.search.description import Choices, Range, Search
from darkroom.search.importance import importances
from darkroom.search.measure import Measure
from darkroom.search.running import are_hours_spent, hours, planned
from darkroom.search.space import Space
from darkroom.statistics.intervals import wilson

COSTS = {  # of a network: key of a trial's measurements -> what it is
    "parameters": "parameters",
    "flops": "FLOPs per image",
    "latency_ms": "latency, ms",
    "latency_int8_ms": "latency in int8, ms",
}

WIDE = 8  # ratio of numeric choices from which a figure shows them on a logarithmic axis


def collect(
    name: str,
    file: Path,
    search: Search,
    space: Space,
    study: optuna.Study,
    finals: optuna.Study,
    measure: Measure,
    validation: int,
) -> dict[str, Any]:
    """All numbers of a search; scores are of `measure`, on so many validation examples."""
    done = storage.finished(study)
    by_state = {state: [trial for trial in done if trial.state == state] for state in TrialState}
    complete = by_state[TrialState.COMPLETE]
    again = retrained(study, finals, search.seeds, measure)
    rows = [_row(trial, again.get(trial.number), measure, validation) for trial in done]
    seconds = [trial.user_attrs.get(trials.SECONDS, 0.0) for trial in done]
    return {
        "search": name,
        "file": file.as_posix(),
        "sampler": search.sampler,
        "cost": search.cost,
        "measure": measure.name,
        "trials": {
            "finished": len(done),
            "complete": len(complete),
            "pruned": len(by_state[TrialState.PRUNED]),
            "failed": len(by_state[TrialState.FAIL]),
            "planned": planned(search, space),
        },
        "hours_are_spent": are_hours_spent(search, done),
        "hours": round(hours([*done, *storage.finished(finals)]), 4),
        "training_seconds": round(sum(seconds), 1),
        "training_seconds_saved": saved(by_state[TrialState.PRUNED], complete),
        "validation_examples": validation,
        "seeds": search.seeds,
        "finalists": list(again.values()),
        "finalists_are_trained": are_trained(study, finals, search),
        "winner": winner(again, study, finals, search),
        "front": sorted(trial.number for trial in trials.leading(study, 10**9)) if search.cost != "none" else [],
        "knees": {cost: knee(rows, cost) for cost in COSTS if any(cost in row for row in rows)},
        "importances": [
            {"parameter": one.name, "importance": one.value, "chance": one.chance, "matters": one.matters}
            | {"trials": one.trials, "when": one.when, "log": _is_logarithmic(space.parameters[one.name])}
            for one in importances(study, space, measure)
        ],
        "rows": rows,
    }


def retrained(
    study: optuna.Study, finals: optuna.Study, seeds: Sequence[int], measure: Measure
) -> dict[int, dict[str, Any]]:
    """The finalists with results of at least two of `seeds`, by trial, best mean first.

    `low` and `high` bound the mean over seeds (95 %). `gap` is by how much the score in the search exceeds the mean.
    `failed` holds the seeds with which the training failed.
    """
    scores: dict[int, dict[int, float]] = {}
    for trial in storage.in_state(finals, TrialState.COMPLETE):
        if trial.params["seed"] in seeds:
            scores.setdefault(trial.params["trial"], {})[trial.params["seed"]] = trial.value
    tried = _tried(finals)
    searched = {trial.number: trial.values[0] for trial in storage.in_state(study, TrialState.COMPLETE)}
    rows = []
    for number, of_seed in scores.items():
        if len(of_seed) > 1 and number in searched:
            values = np.array(list(of_seed.values()))
            low, high = over_seeds(values).clip(*measure.bounds).tolist()
            mean = float(values.mean())  # as in over_seeds: another sum may be outside of an interval without width
            rows.append(
                {"trial": number, "score": searched[number], "mean": mean, "low": low, "high": high}
                | {"std": statistics.stdev(of_seed.values()), "gap": searched[number] - mean}
                | {"scores": {str(seed): value for seed, value in sorted(of_seed.items())}}
                | {"failed": [seed for seed in seeds if seed not in of_seed and (number, seed) in tried]}
            )
    return {row["trial"]: row for row in sorted(rows, key=lambda row: (-row["mean"], row["trial"]))}


def over_seeds(values: np.ndarray) -> np.ndarray:
    """The 95 % interval (2,) float64 of the mean of values (N,) of at least two seeds, by Student's t.

    The results of few seeds are nearly normal, so it is narrower than the bootstrap of so few values.
    """
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values))
    return values.mean() + np.array([-half, half])


def winner(again: Mapping[int, Mapping], study: optuna.Study, finals: optuna.Study, search: Search) -> int | None:
    """The finalist with the best mean, or with two objectives the knee of the front; without finalists the best trial.

    A finalist that failed with one of the seeds cannot win. None as long as not all finalists are trained with all
    seeds, or if none of them can win.
    """
    chosen = [trial.number for trial in trials.leading(study, max(1, search.finalists))]
    sure = chosen
    if not are_trained(study, finals, search):
        return None
    if search.finalists:
        sure = [number for number in again if number in chosen and len(again[number]["scores"]) == len(search.seeds)]
    if search.cost == "none":
        return next(iter(sure), None)
    possible = [trial for trial in study.best_trials if trial.number in sure or trial.number not in chosen]
    front = {trial.number: trial.values for trial in possible}
    rows = [
        {"trial": number, "estimate": again[number]["mean"] if number in again else score, "cost": cost}
        for number, (score, cost) in front.items()
    ]
    return knee(rows, "cost")


def are_trained(study: optuna.Study, finals: optuna.Study, search: Search) -> bool:
    """Whether all finalists have been trained with all seeds, or have failed."""
    tried, chosen = _tried(finals), trials.leading(study, search.finalists) if search.finalists else []
    return all((trial.number, seed) in tried for trial in chosen for seed in search.seeds)


def _tried(finals: optuna.Study) -> set[tuple[int, int]]:
    """The trainings of finalists that have ended and that no process repeats: trial and seed."""
    begun = storage.in_state(finals, TrialState.RUNNING)
    running = {(trial.params.get("trial"), trial.params.get("seed")) for trial in begun}
    return {(trial.params["trial"], trial.params["seed"]) for trial in storage.finished(finals)} - running


def knee(rows: Sequence[Mapping[str, Any]], cost: str) -> int | None:
    """The trial at the knee of the Pareto front of score against `cost`: farthest above the line between its ends.

    The cost is taken by its logarithm and both axes are scaled to 0..1. None if there are fewer than three trials on
    the front or none lies above the line. Satopaa et al., "Finding a kneedle in a haystack", 2011.
    """
    front = pareto(rows, cost)
    if len(front) < 3:
        return None
    x, y = np.log([row[cost] for row in front]), np.array([estimate(row, cost) for row in front])
    above = (y - y[0]) / (y[-1] - y[0]) - (x - x[0]) / (x[-1] - x[0])
    best = int(above.argmax())
    return front[best]["trial"] if above[best] > 1e-9 else None


def pareto(rows: Sequence[Mapping[str, Any]], cost: str) -> list[Mapping[str, Any]]:
    """The rows with a score that no cheaper or equally cheap row reaches, cheapest first."""
    front: list[Mapping[str, Any]] = []
    measured = [row for row in rows if row.get(cost) and "estimate" in row]
    for row in sorted(measured, key=lambda row: (row[cost], -estimate(row, cost), row["trial"])):
        if not front or estimate(row, cost) > estimate(front[-1], cost):
            front.append(row)
    return front


def estimate(row: Mapping[str, Any], cost: str) -> float:
    """The score of a complete trial that goes with a cost: with the int8 latency that of the int8 model."""
    return row["estimate"] + (row["int8_change"] if cost == "latency_int8_ms" else 0.0)


def saved(pruned: Sequence[FrozenTrial], complete: Sequence[FrozenTrial]) -> float | None:
    """Training seconds that pruning saved: those of the epochs that pruned trials would still have taken.

    None if no trial is complete, since then the length of a training is not known.
    """
    if not complete:
        return None
    epochs = statistics.median(len(trial.user_attrs[trials.RECORDS]) for trial in complete)
    per_epoch = ((trial.user_attrs[trials.SECONDS], len(trial.user_attrs[trials.RECORDS])) for trial in pruned)
    return round(sum(seconds / done * max(0, epochs - done) for seconds, done in per_epoch), 1)


def _is_logarithmic(entry: Range | Choices) -> bool:
    """Whether a figure should show a parameter on a logarithmic axis."""
    if isinstance(entry, Range):
        return entry.log
    numbers = [value for value in entry.choices if isinstance(value, int | float)]
    return len(numbers) == len(entry.choices) and min(numbers) > 0 and max(numbers) / min(numbers) > WIDE


def _row(trial: FrozenTrial, again: Mapping[str, Any] | None, measure: Measure, validation: int) -> dict[str, Any]:
    """A trial for the table: the mean over seeds of a finalist, else the score in the search, with an interval.

    The interval of one loss is not known: `interval_of` is None.
    """
    records = trial.user_attrs.get(trials.RECORDS, [])
    row: dict[str, Any] = {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "sample": trial.user_attrs.get(trials.SAMPLE, {}),
        "epochs": len(records),
        "training_seconds": trial.user_attrs.get(trials.SECONDS, 0.0),
        "score": trial.values[0] if trial.values else (measure.score(records[-1]) if records else None),
    }
    if trial.state == TrialState.FAIL:
        row["reason"] = trial.user_attrs[storage.REASON]
    if trial.state == TrialState.COMPLETE:
        summary, exported = trial.user_attrs[trials.SUMMARY], trial.user_attrs.get(trials.EXPORTED, {})
        score = trial.values[0]
        row |= {"estimate": score, "low": score, "high": score, "interval_of": None}
        if measure.is_fraction:
            low, high = wilson(round(score * validation), validation).tolist()
            row |= {"low": low, "high": high, "interval_of": "validation examples"}
        row |= {"parameters": summary["parameters"], "flops": summary["flops_per_image"], **exported}
        if exported:
            row["int8_change"] = exported["val_accuracy_exported_int8"] - exported["val_accuracy_exported"]
        if again:
            finite = all(map(math.isfinite, (again["low"], again["high"])))
            row |= {"estimate": again["mean"], "seeds": len(again["scores"])}
            row |= {"low": again["low"], "high": again["high"], "interval_of": "seeds"} if finite else {}
    return row
