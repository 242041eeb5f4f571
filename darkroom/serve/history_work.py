"""Recommend after histories, and explain recommendations, in a worker thread: what the routes of histories share."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from darkroom.bundle.histories import Recommended, answers, best, sequences
from darkroom.explain.occlusion import log_odds
from darkroom.serve.service import Served
from darkroom.serve.telemetry import Telemetry

MAX_ITEMS = 10_000  # of a history
MAX_ID = 200  # characters of the id of an item, as in the data
EVENTS = 64  # of a history that are left out, one at a time: the latest ones


@dataclass(frozen=True, slots=True)
class Explanation:
    """How much each event of a history matters for one item."""

    item: int  # as an index
    probability: float
    values: list[float | None]  # of each id of the history; None: it was not left out


def recommend(
    telemetry: Telemetry, served: Served, histories: Sequence[Sequence[str]], count: int, leave_out_seen: bool
) -> tuple[list[Recommended], float]:
    """What is recommended after each of N >= 1 histories of ids, and the milliseconds that it took."""
    started = perf_counter()
    found = served.histories.recommend(histories, count, leave_out_seen)
    seconds = perf_counter() - started
    record(telemetry, served, found, seconds)
    return found, 1000 * seconds


def record(telemetry: Telemetry, served: Served, found: Sequence[Recommended], seconds: float) -> None:
    """Count what was recommended, for the metrics and the drift watch."""
    telemetry.inferred(seconds)
    telemetry.recommended(found)
    served.see(served.histories.measured(found), np.array([[one.confidence] for one in found], np.float32))


def explain(served: Served, history: Sequence[str], item: int | None = None) -> Explanation | None:
    """Leave out the events of a history, one at a time; None if the model reads no item of it.

    The value of an event is the decrease of the log-odds of `item` without it, or of the most probable item that is not
    in the history. There are values for the EVENTS latest items that the model reads, if it reads more than one.
    """
    recommender = served.histories
    indices = recommender.indices
    places = [place for place, one in enumerate(history) if one in indices][-recommender.length :]
    read = np.array([indices[history[place]] for place in places], np.int64)
    if not len(read):
        return None
    chosen = range(max(0, len(read) - EVENTS), len(read)) if len(read) > 1 else range(0)
    variants = [read, *(np.delete(read, event) for event in chosen)]
    logits, probabilities = answers(
        recommender.bundle.session, sequences(variants, range(len(variants)), recommender.length)
    )
    if item is None:
        unseen = best(logits[0], 1, recommender.known(history))
        item = int(unseen[0]) if len(unseen) else int(logits[0].argmax())
    scores = log_odds(logits / recommender.bundle.manifest.temperature, item)
    values: list[float | None] = [None] * len(history)
    for event, value in zip(chosen, (scores[0] - scores[1:]).tolist(), strict=True):
        values[places[event]] = value
    return Explanation(item, float(probabilities[0, item]), values)


def named(served: Served, index: int) -> dict[str, Any]:
    """The id and the title of an item."""
    recommender = served.histories
    return {"id": recommender.bundle.manifest.classes[index], "title": recommender.catalogue.titles[index]}
