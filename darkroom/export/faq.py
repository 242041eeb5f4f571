"""Frequently asked questions: faq.csv in a dataset's folder, and how well texts find the questions of their class.

The embedding of a text is what the last layer of the network classifies: the mean of the encoder's last states, with
length 1 (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from darkroom.core.errors import DarkroomError
from darkroom.export import replies
from darkroom.tokens import text

FILE = "faq.csv"
COLUMNS = ("question", "answer")
MOST = 10_000  # questions: each text is compared with all of them
RANKS = (1, 3)
_BLOCK = 1000  # texts that are compared at a time: at most 10 million similarities


class Entry(NamedTuple):
    """One row of faq.csv."""

    question: str
    answer: str
    intent: str  # the class of the question; empty if it is not given


def read(path: Path, classes: Sequence[str]) -> list[Entry]:
    """The rows of faq.csv; raises DarkroomError that names the row, and what is wrong."""
    rows = replies.rows(path, COLUMNS)
    if not 1 <= len(rows) <= MOST:
        raise DarkroomError(f"{path} has {len(rows):,} questions, but 1 to {MOST:,} are allowed.")
    return [_entry(f"{path}, row {number}", row, classes) for number, row in enumerate(rows, 1)]


def recall(
    embeddings: np.ndarray, intents: Sequence[str], texts: np.ndarray, labels: Sequence[str]
) -> dict[str, float]:
    """The fraction of texts that have a question of their own class among the 1 and the 3 most similar ones.

    `embeddings` (F, D) are those of questions of the classes `intents` (F,), `texts` (N, D) those of texts of the
    classes `labels` (N,). Only texts count whose class has a question; the result is empty if there are none.
    """
    asked, given = np.array(intents), np.array(labels)
    counted = np.isin(given, asked[asked != ""])
    if not counted.any():
        return {}
    parts = np.array_split(texts[counted], -(-int(counted.sum()) // _BLOCK))
    found = [np.argsort(-(part @ embeddings.T), axis=1, kind="stable")[:, : max(RANKS)] for part in parts]
    hits = asked[np.concatenate(found)] == given[counted, None]
    return {f"faq_recall_at_{rank}": float(hits[:, :rank].any(1).mean()) for rank in RANKS} | {
        "faq_tested": int(counted.sum())
    }


def _entry(where: str, row: dict[str, str], classes: Sequence[str]) -> Entry:
    try:
        question = text.clean(row["question"])
    except text.Unusable as reason:
        raise DarkroomError(f"{where}: the question cannot be used: {reason}.") from None
    intent = row.get("intent", "")
    if intent and intent not in classes:
        raise DarkroomError(f"{where}: intent = {intent!r} is not a class: correct the name.")
    return Entry(question, row["answer"].strip(), intent)
