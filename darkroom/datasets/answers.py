"""Read labels that people gave by hand: labels.csv in a dataset's folder, which `python -m darkroom.label` writes.

One row per answer: id, label, by (who), at (when, ISO 8601). An empty label means unclear. Of several answers of one
person to one example, the latest counts.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

FILE = "labels.csv"
COLUMNS = ("id", "label", "by", "at")
UNCLEAR = ""  # the label of an example that no class can be given to


class Answer(NamedTuple):
    """One row of labels.csv."""

    id: str
    label: str
    by: str
    at: str


Opinions = Mapping[str, Mapping[str, str]]  # id -> person -> label


def parse(text: str) -> list[Answer]:
    """The rows of labels.csv; raises ValueError or csv.Error with a phrase that names the row."""
    if not text.strip():
        return []  # a page that was killed before its first answer leaves such a file
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise ValueError(f"missing column {', '.join(missing)}")
    answers = []
    for number, row in enumerate(reader, 1):
        if None in row or None in row.values():
            raise ValueError(f"row {number} does not have {len(reader.fieldnames)} values")
        answer = Answer(*(row[name] for name in COLUMNS))
        if not answer.by.strip():
            raise ValueError(f"row {number}: by is empty, but must be the name of a person")
        try:
            when(answer)
        except ValueError:
            raise ValueError(f"row {number}: at = {answer.at!r} must be a time such as 2026-01-31T12:00:00Z") from None
        answers.append(answer)
    return answers


def when(answer: Answer) -> datetime:
    """The time of an answer, in UTC if its row names no zone; raises ValueError."""
    found = datetime.fromisoformat(answer.at)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def opinions(answers: Iterable[Answer]) -> dict[str, dict[str, str]]:
    """The latest answer of each person to each example; of two with the same time, that of the later row."""
    found: dict[str, dict[str, str]] = {}
    for answer in sorted(answers, key=when):
        found.setdefault(answer.id, {})[answer.by] = answer.label
    return found


def majority(labels: Iterable[str]) -> str | None:
    """The label that more than half of the opinions give, which may be UNCLEAR; None if they disagree."""
    [(label, count), *_], total = (counts := Counter(labels)).most_common(), counts.total()
    return label if 2 * count > total else None
