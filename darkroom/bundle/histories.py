"""Recommend items with the exported network of histories: a bundle as in `classifier`, whose model takes items.

model.onnx   items (batch, length) int64, oldest first, padded with 0 at the end; the item of column k of the outputs is
             k + 1 -> logits and probabilities over all items, each (batch, K)
items.csv    item, title, train_events: one row per column of the outputs, in their order
"""

import csv
import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from onnxruntime import InferenceSession

from darkroom.bundle.classifier import ITEMS, OUTPUTS, REMEDY, Bundle
from darkroom.core.errors import DarkroomError

FILE = "items.csv"
COLUMNS = ("item", "title", "train_events")
PADDING = 0
_MAX_READ = 1024  # items of a batch with its padding: more are not faster, and take memory
_MAX_OUTPUT = 2**21  # logits of a batch


@dataclass(frozen=True)
class Catalogue:
    """The items that can be recommended."""

    titles: Sequence[str]  # by index; "" if an item has none
    events: np.ndarray  # (K,) int64: how often each occurs in the training part of the histories

    @cached_property
    def by_popularity(self) -> np.ndarray:
        """The indices (K,) int64 of all items, most frequent first."""
        return np.argsort(-self.events, kind="stable")

    @cached_property
    def popularity(self) -> np.ndarray:
        """The fraction (K,) float64 of the training events that each item has."""
        return self.events / max(1, int(self.events.sum()))

    @cached_property
    def _searched(self) -> tuple[str, list[int]]:
        """All titles as lines of one text, most frequent first, and where each begins: much faster than one by one."""
        lines = [" ".join(self.titles[index].casefold().split()) for index in self.by_popularity.tolist()]
        return "\n".join([*lines, ""]), [0, *accumulate(len(line) + 1 for line in lines)]

    def search(self, words: str, limit: int) -> list[int]:
        """Items whose titles contain all of the words, in upper or lower case, most frequent first; at most `limit`."""
        (text, starts), wanted, found, place = self._searched, words.casefold().split(), [], 0
        longest = max(wanted, key=len, default="")
        while len(found) < limit and 0 <= (place := text.find(longest, place)) < len(text):
            row = bisect_right(starts, place) - 1
            if all(word in text[starts[row] : starts[row + 1]] for word in wanted):
                found.append(int(self.by_popularity[row]))
            place = starts[row + 1]
        return found


@dataclass(frozen=True, slots=True)
class Recommended:
    """What is recommended after one history."""

    items: np.ndarray  # (n,) int64, as indices, most probable first
    probabilities: np.ndarray  # (n,), among all items; if `popular`, fractions of the training events
    popular: bool  # whether no item of the history is known, so that these are the most frequent items
    known: int  # items of the history that the catalogue has
    unknown: int  # items of the history that it does not have
    cut: bool  # whether the model read only the latest of the known ones
    first: int  # the most probable item, whether it is in the history or not
    confidence: float  # its probability


@dataclass(frozen=True)
class Recommender:
    """A bundle of histories, ready to run. Thread-safe."""

    bundle: Bundle

    @cached_property
    def catalogue(self) -> Catalogue:
        """The items; raises DarkroomError if they are not those of the model."""
        return read(self.bundle.others[FILE], self.bundle.manifest.classes)

    @cached_property
    def indices(self) -> dict[str, int]:
        """The index of each item by its id."""
        return {item: index for index, item in enumerate(self.bundle.manifest.classes)}

    @property
    def length(self) -> int:
        """How many items the model reads at most."""
        return self.bundle.manifest.shape[0]

    def prepare(self) -> None:
        """Read all files now rather than with the first history; raises DarkroomError if one is invalid."""
        self.catalogue.search("", 1)
        len(self.indices)

    def known(self, history: Sequence[str]) -> np.ndarray:
        """The indices (n,) int64 of the items of a history that the catalogue has, oldest first."""
        indices = self.indices
        return np.array([indices[item] for item in history if item in indices], np.int64)

    def recommend(
        self, histories: Sequence[Sequence[str]], count: int = 10, leave_out_seen: bool = True
    ) -> list[Recommended]:
        """The `count` most probable next items after each history of ids, oldest first; fewer if there are not so many.

        An id may occur several times. Ids that the catalogue does not have are skipped.
        """
        found = [self.known(history) for history in histories]
        unknown = [len(history) - len(known) for history, known in zip(histories, found, strict=True)]
        return self.recommend_after(found, unknown, count, leave_out_seen)

    def recommend_after(
        self, found: Sequence[np.ndarray], unknown: Sequence[int], count: int, leave_out_seen: bool
    ) -> list[Recommended]:
        """As `recommend`, given the known items (n,) of each history, as of `known`, and how many others it has."""
        results = [self._popular(others, count) for others in unknown]
        rows = [row for row, known in enumerate(found) if len(known)]
        for part, logits, probabilities in batches(self.bundle.session, sequences(found, rows, self.length)):
            for number, scores, chances in zip(part.tolist(), logits, probabilities, strict=True):
                row = rows[number]
                results[row] = self.chosen(found[row], unknown[row], scores, chances, count, leave_out_seen)
        return results

    def chosen(
        self,
        known: np.ndarray,
        unknown: int,
        logits: np.ndarray,
        probabilities: np.ndarray,
        count: int,
        leave_out_seen: bool,
    ) -> Recommended:
        """What is recommended by the logits and probabilities, each (K,), of a history with n >= 1 known items (n,)."""
        first = int(logits.argmax())
        items = best(logits, count, known if leave_out_seen else known[:0])
        return Recommended(
            items=items,
            probabilities=probabilities[items],
            popular=False,
            known=len(known),
            unknown=unknown,
            cut=len(known) > self.length,
            first=first,
            confidence=float(probabilities[first]),
        )

    def measured(self, found: Sequence[Recommended]) -> np.ndarray:
        """What the drift watch sees of N recommendations besides the confidence: (N, 3) int64."""
        events = self.catalogue.events
        return np.array([(min(one.known, self.length), one.unknown, events[one.first]) for one in found], np.int64)

    def _popular(self, unknown: int, count: int) -> Recommended:
        """What is recommended after a history with `unknown` items and no other."""
        items = self.catalogue.by_popularity[:count]
        fractions = self.catalogue.popularity
        first = int(items[0])
        return Recommended(items, fractions[items], True, 0, unknown, False, first, float(fractions[first]))


def read(contents: bytes, classes: Sequence[str]) -> Catalogue:
    """The items in the contents of items.csv; raises DarkroomError unless they are `classes`, in their order."""
    try:
        rows = list(csv.DictReader(io.StringIO(contents.decode(), newline=""), strict=True))
        if [row["item"] for row in rows] != list(classes):
            raise ValueError("other items than the model's")
        events = np.array([int(row["train_events"]) for row in rows], np.int64)
        return Catalogue([row["title"] or "" for row in rows], events)
    except (ValueError, KeyError, TypeError, OverflowError, csv.Error) as error:
        raise DarkroomError(f"{FILE} does not describe the items of the model ({error}): {REMEDY}.") from None


def sequences(found: Sequence[np.ndarray], rows: Sequence[int], length: int) -> np.ndarray:
    """What the model reads of the histories `rows` of `found`, indices of items, oldest first: (n, L) int64."""
    widest = max((min(len(found[row]), length) for row in rows), default=0)
    given = np.full((len(rows), widest), PADDING, np.int64)
    for target, row in zip(given, rows, strict=True):
        latest = found[row][-length:]
        target[: len(latest)] = latest + 1
    return given


def batches(session: InferenceSession, given: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield batches of the sequences (N, L): their indices (n,), logits and probabilities, each (n, K) float32.

    A batch holds sequences of similar length, so that padding is hardly computed, and few if there are many items: all
    logits together may be larger than the memory.
    """
    limit = max(1, _MAX_OUTPUT // session.get_outputs()[0].shape[1])
    lengths = np.maximum(1, (given != PADDING).sum(1))
    order, start = np.argsort(lengths, kind="stable"), 0
    while start < len(order):
        widths = lengths[order[start : start + limit]]
        size = max(1, int((widths * np.arange(1, len(widths) + 1) <= _MAX_READ).sum()))
        part = order[start : start + size]
        feeds = {ITEMS: given[part, : widths[size - 1]].astype(np.int64)}
        yield part, *session.run(OUTPUTS, feeds)
        start += size


def answers(session: InferenceSession, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and probabilities, each (N, K) float32, of the sequences (N, L), N at least 1, all in memory."""
    parts, *found = zip(*batches(session, given), strict=True)
    back = np.argsort(np.concatenate(parts))
    logits, probabilities = (np.concatenate(one)[back] for one in found)
    return logits, probabilities


def best(scores: np.ndarray, count: int, left_out: np.ndarray) -> np.ndarray:
    """The indices of the `count` highest scores (K,), highest first and of equal ones the first, without `left_out`.

    There are fewer if all others are left out.
    """
    allowed = np.ones(len(scores), bool)
    allowed[left_out] = False
    candidates = np.flatnonzero(allowed)
    if count < len(candidates):
        held = scores[candidates]
        lowest = np.partition(held, len(held) - count)[len(held) - count]
        candidates = candidates[held >= lowest]
    return candidates[np.argsort(-scores[candidates], kind="stable")][:count]
