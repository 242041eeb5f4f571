"""The result of a search in plain sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from darkroom.core.spelling import counted
from darkroom.search import running
from darkroom.search.importance import LEAST
from darkroom.search.measure import NAMED, Measure
from darkroom.search.results import COSTS, estimate, over_seeds


def sentences(found: Mapping[str, Any]) -> list[str]:
    """What the numbers of `results.collect` say: effort, winner, luck of the search, parameters, size."""
    return [*_effort(found), *_winner(found), *_parameters(found), *_size(found)]


def _effort(found: Mapping[str, Any]) -> Iterator[str]:
    counts, saved = found["trials"], found["training_seconds_saved"]
    text = f"{counted(counts['finished'], 'trial')}: {counts['complete']} complete, {counts['pruned']} pruned"
    text += f", {counts['failed']} failed; {found['training_seconds']:,.0f} s of training"
    if counts["pruned"] and saved:
        fraction = saved / (saved + found["training_seconds"])
        text += f"; pruning saved about {saved:,.0f} s ({fraction:.0%})"
    yield f"{text}."
    if counts["finished"] < counts["planned"]:
        if found["hours_are_spent"]:
            yield f"The search ended because its hours are spent; {counts['planned']} trials were planned."
        else:
            yield f"The search has not ended: {counts['planned']} trials are planned. The same command goes on."


def _winner(found: Mapping[str, Any]) -> Iterator[str]:
    number, measure = found["winner"], NAMED[found["measure"]]
    if number is None:
        if not found["trials"]["complete"]:
            yield "There is no winner: no trial is complete."
        elif not found["finalists_are_trained"]:
            yield f"There is no winner yet: the finalists are not all trained with all {len(found['seeds'])} new seeds."
        elif found["cost"] != "none":
            yield "There is no winner: no trial is a knee of the Pareto front."
        else:
            yield "There is no winner: each finalist failed with one of the new seeds."
        return
    again = {row["trial"]: row for row in found["finalists"]}
    if number not in again:
        row = next(row for row in found["rows"] if row["trial"] == number)
        yield (
            f"Trial {number} wins with a {measure.name} of {measure.text(row['score'])} in one training with the "
            "search's seed: an optimistic figure, since it is the best of many."
        )
        return
    row = again[number]
    yield (
        f"Trial {number} wins with a {measure.name} of {measure.text(row['mean'])}, mean of {len(row['scores'])} new "
        f"seeds (95 % interval: {measure.interval(row['low'], row['high'])})."
    )
    if row["gap"] > 0:
        is_luck = row["score"] > row["high"]
        yield (
            f"In the search it reached {measure.text(row['score'])}, better than with new seeds by "
            f"{measure.difference(row['gap'])} {measure.unit}: "
            + ("the search has overfitted validation by about that much." if is_luck else "no more than seeds vary.")
        )
    else:
        yield f"In the search it reached {measure.text(row['score'])}, so the search has not overfitted validation."
    for other in found["finalists"]:
        if other["failed"]:
            failures = ", ".join(map(str, other["failed"]))
            yield f"Trial {other['trial']} cannot win: its training failed with {failures} as seed."
        elif other["trial"] != number and found["cost"] == "none":
            yield _compared(row, other, measure)


def _compared(best: Mapping[str, Any], other: Mapping[str, Any], measure: Measure) -> str:
    """A sentence on two finalists, by the differences of trainings with the same seed."""
    shared = [seed for seed in best["scores"] if seed in other["scores"]]
    differences = np.array([best["scores"][seed] - other["scores"][seed] for seed in shared])
    low, high = over_seeds(differences).tolist()
    verdict = "is worse" if low > 0 else "is not clearly worse"
    return (
        f"Trial {other['trial']} {verdict}: by {measure.difference(differences.mean())} {measure.unit} "
        f"({measure.difference(low)} to {measure.difference(high)}) over {len(shared)} seeds."
    )


def _parameters(found: Mapping[str, Any]) -> Iterator[str]:
    by_verdict: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for row in found["importances"]:
        name = row["parameter"]
        if row["when"]:
            name += f" (where {' and '.join(f'{key} is {_either(values)}' for key, values in row['when'].items())})"
        if row["matters"]:
            name += f" ({row['importance']:.0%} of the variance)"
        by_verdict[row["matters"]].append(name)
    if by_verdict[True]:
        yield f"These parameters mattered: {'; '.join(by_verdict[True])}."
    if by_verdict[False]:
        yield (
            f"These did not matter within the ranges searched, as far as these trials show: "
            f"{'; '.join(by_verdict[False])}. Shuffled results give them as much importance."
        )
    if by_verdict[None]:
        yield (f"Not known, since fewer than {LEAST} trials vary them: {'; '.join(by_verdict[None])}.")


def _size(found: Mapping[str, Any]) -> Iterator[str]:
    rows, measure = {row["trial"]: row for row in found["rows"]}, NAMED[found["measure"]]
    title = measure.name.capitalize()
    for cost, number in found["knees"].items():
        if found["cost"] == "none" and cost not in ("latency_ms", "latency_int8_ms"):
            continue  # the search was not for size
        if number is None:
            yield f"{title} against {COSTS[cost]}: there is no knee."
            continue
        row = rows[number]
        yield (
            f"{title} against {COSTS[cost]}: the knee is trial {number} with {running.number(row[cost])} and "
            f"{measure.text(estimate(row, cost))}. More brings little, less costs much."
        )
    complete = [row for row in found["rows"] if row.get("interval_of")]
    if found["cost"] != "none" and complete:
        best = max(complete, key=lambda row: row["estimate"])
        enough = [row for row in complete if row["high"] >= best["low"] and row["estimate"] <= best["estimate"]]
        least = min(enough, key=lambda row: (row.get(found["cost"], row["parameters"]), -row["estimate"]))
        if least is not best:
            yield (
                f"The best is trial {best['trial']} ({measure.text(best['estimate'])}); the cheapest whose interval "
                f"overlaps its own is trial {least['trial']} ({measure.text(least['estimate'])})."
            )


def _either(values: list) -> str:
    return " or ".join(map(str, values))
