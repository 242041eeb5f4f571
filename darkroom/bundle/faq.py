"""Frequently asked questions in a bundle of texts: the one that is most similar to a text.

faq.json   the questions with their answers, in the order of the rows of faq.npy
faq.npy    (F, D) float32, the model's output `sentence_embedding` of each question, of length 1
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from darkroom.bundle.classifier import REMEDY
from darkroom.core.errors import DarkroomError

ENTRIES, EMBEDDINGS = FILES = ("faq.json", "faq.npy")


@dataclass(frozen=True)
class Faq:
    """Questions with answers, and the embeddings (F, D) float32 of the questions."""

    entries: Sequence[Mapping[str, str]]  # question, answer
    embeddings: np.ndarray

    def nearest(self, embeddings: np.ndarray) -> list[dict[str, Any]]:
        """The most similar question for each of embeddings (N, D), with its answer and the cosine similarity."""
        similarities = embeddings @ self.embeddings.T
        best = similarities.argmax(1).tolist()
        return [
            {**self.entries[index], "similarity": float(row[index])}
            for index, row in zip(best, similarities, strict=True)
        ]


def files(entries: Sequence[Mapping[str, str]], embeddings: np.ndarray) -> dict[str, bytes]:
    """The contents of the files by name, for F entries with question and answer, and embeddings (F, D) float32."""
    file = io.BytesIO()
    np.save(file, embeddings, allow_pickle=False)
    kept = [{name: entry[name] for name in ("question", "answer")} for entry in entries]
    return {ENTRIES: json.dumps(kept, ensure_ascii=False, indent=2).encode(), EMBEDDINGS: file.getvalue()}


def read(contents: Mapping[str, bytes]) -> Faq | None:
    """The frequently asked questions in a bundle's files by name; None if there are none.

    Raises DarkroomError if the files do not belong together.
    """
    if ENTRIES not in contents:
        return None
    try:
        entries = json.loads(contents[ENTRIES])
        embeddings = np.lib.format.read_array(io.BytesIO(contents[EMBEDDINGS]), allow_pickle=False)
        if embeddings.ndim != 2 or len(embeddings) != len(entries) or not entries:
            raise ValueError(f"{len(entries)} questions, embeddings of shape {embeddings.shape}")
    except (ValueError, KeyError, TypeError) as error:
        raise DarkroomError(f"{ENTRIES} and {EMBEDDINGS} do not belong together ({error}): {REMEDY}.") from None
    return Faq(entries, embeddings)
