"""Corruptions of histories at five severities: events that are missing, in another order, or someone else's."""

from collections.abc import Callable

import numpy as np

from darkroom.core.arrays import Split
from darkroom.core.randomness import numpy_generator

SEVERITIES = (1, 2, 3, 4, 5)
STRENGTHS = {
    "dropped_events": (0.1, 0.2, 0.4, 0.6, 0.8),  # fraction of the events
    "shuffled_order": (0.1, 0.25, 0.5, 0.75, 1.0),  # fraction of the events
    "last_events": (20, 10, 5, 2, 1),  # events that are known
    "foreign_events": (0.05, 0.1, 0.2, 0.4, 0.8),  # as a fraction of the events
}


def load(split: Split) -> np.ndarray:
    """The histories (N, L) int32 of a split."""
    return np.array(split.inputs)


def corrupt(given: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """The corrupted histories (N, L) int32; `given` is a result of `load`, `name` one of CORRUPTIONS.

    The random numbers for a history depend on `seed`, `name` and its index. They do not depend on the severity: a
    higher one changes the same events, and more. No history becomes empty.
    """
    strength, found = STRENGTHS[name][SEVERITIES.index(severity)], np.zeros_like(given)
    pool = given[given != 0]  # items as frequent as in all histories
    for index, row in enumerate(given):
        history = row[row != 0]
        changed = CORRUPTIONS[name](history, strength, numpy_generator(seed, "corruption", name, index), pool)
        latest = changed[-len(row) :]
        found[index, : len(latest)] = latest
    return found


# Each takes a history (n,), a strength, a generator, and the items (M,) that others had; it returns a history.
Corruption = Callable[[np.ndarray, float, np.random.Generator, np.ndarray], np.ndarray]


def dropped_events(history: np.ndarray, fraction: float, random: np.random.Generator, _: np.ndarray) -> np.ndarray:
    """Leave out events at random, but not all."""
    drawn = random.random(len(history))
    return history[(drawn >= fraction) | (drawn == drawn.max(initial=0))]


def shuffled_order(history: np.ndarray, fraction: float, random: np.random.Generator, _: np.ndarray) -> np.ndarray:
    """Change places among events at random."""
    drawn, changed = random.random(len(history)), history.copy()
    chosen = drawn < fraction
    changed[chosen] = history[chosen][np.argsort(random.random(len(history))[chosen])]
    return changed


def last_events(history: np.ndarray, count: int, _: np.random.Generator, __: np.ndarray) -> np.ndarray:
    """Know the last events only, as of a new user."""
    return history[-count:]


def foreign_events(history: np.ndarray, fraction: float, random: np.random.Generator, pool: np.ndarray) -> np.ndarray:
    """Insert events of other users at random places, as when several people share an account."""
    drawn = random.random(len(history))
    after = np.flatnonzero(drawn < fraction)
    strange = pool[random.integers(len(pool), size=len(history))]
    return np.insert(history, after + 1, strange[after])


CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function for function in (dropped_events, shuffled_order, last_events, foreign_events)
}
