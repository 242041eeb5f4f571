"""Sort events into histories, keep the core of users and items, and cut histories into training, validation and test.

All functions work on arrays over the events (N,) of all users, sorted by user, then by time.
"""

from typing import NamedTuple

import numpy as np

from darkroom.core.errors import DarkroomError


class Windows(NamedTuple):
    """M examples: each has the events [start, label) as its inputs and the event `label` as its label."""

    split: np.ndarray  # (M,) unicode
    user: np.ndarray  # (M,) int64
    start: np.ndarray  # (M,) int64, index into the events
    label: np.ndarray  # (M,) int64, index into the events
    trained: np.ndarray  # (N,) bool: the events that training may know


def in_order(table: np.ndarray) -> np.ndarray:
    """Indices (n,) of the events (N,) by user and time, those at one time in their given order, without copies.

    A copy is of the same user, item and time.
    """
    order = np.lexsort((np.arange(len(table)), table["time"], table["user"]))
    same = table[np.lexsort((table["item"], table["time"], table["user"]))]
    if not (same[1:] == same[:-1]).any():
        return order
    _, first = np.unique(table, return_index=True)
    kept = np.zeros(len(table), bool)
    kept[first] = True
    return order[kept[order]]


def core(users: np.ndarray, items: np.ndarray, min_user_events: int, min_item_events: int) -> np.ndarray:
    """Which events (N,) bool remain if rare users and items are left out, until none is rare.

    The k-core of the graph of users and items: Batagelj and Zaversnik, "An O(m) algorithm for cores decomposition of
    networks", 2003.
    """
    kept = np.ones(len(users), bool)
    while True:
        few = np.bincount(users[kept], minlength=users.max() + 1) < min_user_events
        rare = np.bincount(items[kept], minlength=items.max() + 1) < min_item_events
        left = kept & ~few[users] & ~rare[items]
        if left.sum() == kept.sum() or not left.any():
            return left
        kept = left


def leave_one_out(users: np.ndarray, length: int) -> Windows:
    """The last event of each user is a test example, the one before it a validation example, the others training.

    A user with two events has no validation example, one with a single event no example at all.
    """
    starts, ends = _bounds(users)
    count = ends - starts
    trained = ends - np.where(count > 2, 2, 1)  # the first event that is not trained on
    parts = [_windows(users, starts, trained, length)]
    for split, back, least in (("val", 2, 3), ("test", 1, 2)):
        label = (ends - back)[count >= least]
        parts.append(_evaluated(split, users, starts[count >= least], label, length))
    return Windows(*_joined(parts), np.arange(len(users)) < np.repeat(trained, count))


def cut_in_time(users: np.ndarray, times: np.ndarray, length: int, val: float, test: float) -> Windows:
    """Training examples are before the time `val`, histories of test examples before the time `test`.

    The label of a validation or test example is the user's first event at or behind its time; that of a validation
    example is before `test`. A user without events before that time has no such example.
    """
    starts, ends = _bounds(users)
    before_val, before_test = (_first_at(users, times, cut, len(starts)) + starts for cut in (val, test))
    parts = [_windows(users, starts, before_val, length)]
    chosen = (before_val > starts) & (before_val < before_test)
    parts.append(_evaluated("val", users, starts[chosen], before_val[chosen], length))
    chosen = (before_test > starts) & (before_test < ends)
    parts.append(_evaluated("test", users, starts[chosen], before_test[chosen], length))
    return Windows(*_joined(parts), times < val)


def cuts(times: np.ndarray, val_fraction: float, test_fraction: float) -> tuple[float, float]:
    """The times from which on an event is a validation and a test event, by the fraction of the events behind them.

    Raises DarkroomError if a part would be empty: events of one time stay together.
    """
    found, left = [], np.sort(times)
    for name, fraction in (("test", test_fraction), ("validation", val_fraction)):
        cut = left[-max(1, round(fraction * len(left)))]
        before = left[left < cut]
        if not len(before):
            raise DarkroomError(
                f"preprocess.history.split = 'time': no event is before those of the {name} part, because "
                f"{len(left)} events have so few different times: set preprocess.history.split to last."
            )
        found.append(float(cut))
        left = before
    return found[1], found[0]


def _bounds(users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end (U,) of the events of each user."""
    starts = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]]))
    return starts, np.append(starts[1:], len(users))


def _first_at(users: np.ndarray, times: np.ndarray, cut: float, count: int) -> np.ndarray:
    """How many events of each user are before the time `cut`: (U,)."""
    starts, _ = _bounds(users)
    number = np.cumsum(np.isin(np.arange(len(users)), starts)) - 1
    return np.bincount(number, times < cut, count).astype(np.int64)


def _windows(users: np.ndarray, starts: np.ndarray, ends: np.ndarray, length: int) -> list[np.ndarray]:
    """Split, user, start and label (M,) of the training examples of the events [start, end) of each user.

    Each event but the first is predicted once. The latest example is full, and the oldest one has what is left.
    """
    counts = np.maximum(0, -(-(ends - starts - 1) // length))
    owner = np.repeat(np.arange(len(starts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)  # from the latest
    label = ends[owner] - 1 - length * number
    start = np.maximum(starts[owner], label - length)
    return [np.full(len(label), "train"), users[start], start, label]


def _evaluated(split: str, users: np.ndarray, starts: np.ndarray, label: np.ndarray, length: int) -> list[np.ndarray]:
    """Split, user, start and label (M,) of examples with these first events (M,) of their users, and these labels."""
    return [np.full(len(label), split), users[label], np.maximum(starts, label - length), label]


def _joined(parts: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]
