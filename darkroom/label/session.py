"""One person labels a list of examples: what is shown next, answer, skip and undo."""

import hashlib
import secrets
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import closest
from darkroom.datasets import answers
from darkroom.datasets.answers import UNCLEAR
from darkroom.label import agreement
from darkroom.label.examples import Chosen, Example
from darkroom.label.journal import Journal


class OutOfTurn(DarkroomError):
    """A page answers an example that it no longer shows: another window has answered it."""


class UnknownClass(DarkroomError):
    """A label is not a class of the data set."""


class Session:
    """The state of the page. `label_of` gives the present label of an example, "" if it has none.

    An example is done if it has as many answers as its `answers`; with `second`, of this person. `turn` changes with
    every action: an action with an earlier turn is refused, so two windows cannot both answer one example.
    """

    def __init__(
        self, journal: Journal, chosen: Chosen, classes: Sequence[str], label_of: Callable[[str], str], second: bool
    ):
        self.journal, self.chosen, self.classes, self._label_of = journal, chosen, classes, label_of
        self.opinions = answers.opinions(journal.rows)
        self.by_key = {key(one.id): one for one in chosen.examples}
        self._examples = {one.id: one for one in chosen.examples}
        given = Counter(row.id for row in journal.rows if row.by == journal.by or not second)
        self._done = {one.id for one in chosen.examples if given[one.id] >= one.answers}
        self._waiting = deque(one for one in chosen.examples if one.id not in self._done)
        self._skipped: set[str] = set()
        self._history: list[tuple[Example, bool]] = self._answered_before()  # example, and whether it was answered
        self.turn = secrets.token_hex(8)

    def state(self) -> dict[str, Any]:
        """What the page shows: the present and the next example, what was done last, and the progress."""
        waiting = [{"key": key(one.id), "skipped": one.id in self._skipped} for one in self._head()]
        return {
            "turn": self.turn,
            "example": waiting[0] if waiting else None,
            "next": waiting[1]["key"] if waiting[1:] else None,
            "done": len(self._done),
            "total": len(self._examples),
            "skipped": len(self._skipped),
            "last": self._last(),
        }

    def answer(self, turn: str, label: str) -> dict[str, Any]:
        """Save the label of the example that is shown, UNCLEAR included; return the new state.

        Raises OutOfTurn, UnknownClass, or NotSaved of the journal; the state is as before then.
        """
        example = self._shown(turn)
        if label != UNCLEAR and label not in self.classes:
            raise UnknownClass(self._why_not(label))
        answer = self.journal.append(example.id, label)
        self.opinions.setdefault(answer.id, {})[answer.by] = label
        self._waiting.popleft()
        self._done.add(example.id)
        self._skipped.discard(example.id)
        return self._acted(example, True)

    def skip(self, turn: str) -> dict[str, Any]:
        """Show the example that is shown again after all others; return the new state."""
        example = self._shown(turn)
        self._waiting.rotate(-1)
        self._skipped.add(example.id)
        return self._acted(example, False)

    def undo(self, turn: str) -> dict[str, Any]:
        """Take the last answer or skip back and show its example; return the new state."""
        self._check(turn)
        if not self._history:
            raise OutOfTurn("There is nothing to undo.")
        example, answered = self._history[-1]
        if answered:
            if self.journal.undo() is None:
                raise OutOfTurn("There is nothing to undo.")
            self.opinions = answers.opinions(self.journal.rows)
            self._done.discard(example.id)
            self._waiting.appendleft(example)
        else:
            self._waiting.rotate(1)
            self._skipped.discard(example.id)
        self._history.pop()
        self.turn = secrets.token_hex(8)
        return self.state()

    def agreement(self) -> list[dict[str, Any]]:
        """The agreement of each two people."""
        return [asdict(pair) for pair in agreement.pairs(self.opinions)]

    def _acted(self, example: Example, answered: bool) -> dict[str, Any]:
        self._history.append((example, answered))
        self.turn = secrets.token_hex(8)
        return self.state()

    def _shown(self, turn: str) -> Example:
        self._check(turn)
        if not self._waiting:
            raise OutOfTurn("All examples are done.")
        return self._waiting[0]

    def _check(self, turn: str) -> None:
        if turn != self.turn:
            raise OutOfTurn("Another window went on, so this answer was not saved. This is the present example.")

    def _head(self) -> list[Example]:
        return [self._waiting[place] for place in range(min(2, len(self._waiting)))]

    def _last(self) -> dict[str, Any] | None:
        """The last action. The present label is shown only here, after the answer."""
        if not self._history:
            return None
        example, answered = self._history[-1]
        label = self.opinions[example.id][self.journal.by] if answered else None
        return {"id": example.id, "label": label, "present": self._label_of(example.id) if answered else ""}

    def _answered_before(self) -> list[tuple[Example, bool]]:
        """The last rows of labels.csv, as far as they are this person's and in the list, so that they can be undone.

        Each example is there once: its row before the last one may be what the list doubts.
        """
        found: dict[str, tuple[Example, bool]] = {}
        for row in reversed(self.journal.rows):
            if row.by != self.journal.by or row.id not in self._done or row.id in found:
                break
            found[row.id] = self._examples[row.id], True
        return [*found.values()][::-1]

    def _why_not(self, label: str) -> str:
        meant = closest(label, self.classes, cutoff=0.7)
        hint = f" Did you mean {meant}?" if meant else ""
        return (
            f"“{label}” is not a class of this data set.{hint} A new one cannot be added here: list all classes in "
            "dataset.yaml, or give it a folder with images or rows in the manifest, and run dvc repro. Until then, "
            "answer “unclear”."
        )


def key(example: str) -> str:
    """A name for an example that does not tell its label, as its path may."""
    return hashlib.blake2b(example.encode(), digest_size=12).hexdigest()
