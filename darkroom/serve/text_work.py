"""Classify and explain texts in a worker thread: what the routes of texts share."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from time import perf_counter
from typing import Any

import numpy as np

from darkroom.explain.occlusion import log_odds
from darkroom.serve.problems import Problem
from darkroom.serve.service import Served
from darkroom.serve.telemetry import Telemetry
from darkroom.tokens import text
from darkroom.tokens.text import PADDING, Unusable

PARTS = 64  # of a text that are left out, one at a time
TOGETHER = 8 * text.MAX_CHARACTERS  # of the texts of a request: a tokenizer may make 18 characters of one (U+FDFA)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model says of one text."""

    logits: np.ndarray  # (K,) float32
    probabilities: np.ndarray  # (K,) float32
    tokens: int  # that the model read
    cut: bool  # whether the text is longer than the model reads
    faq: dict[str, Any] | None  # the most similar question with its answer and similarity
    inference_ms: float  # of the model run, which may be of several texts


@dataclass(frozen=True, slots=True)
class Explanation:
    """How much each part of a text matters for the most probable class."""

    best: int  # index of this class
    probability: float
    cut: bool
    parts: list[tuple[str, float | None]]  # the text in pieces; None: the model does not read this piece


def require_size(texts: Sequence[str]) -> int:
    """The number of characters of the texts of a request; raises Problem 413 beyond TOGETHER."""
    found = sum(map(len, texts))
    if len(texts) > 1 and found > TOGETHER:
        raise Problem(413, f"The texts have {found:,} characters together; the limit is {TOGETHER:,}.")
    return found


def classify(
    telemetry: Telemetry, served: Served, texts: Sequence[str], together: bool = False
) -> list[Outcome | Unusable]:
    """The outcome of each of N >= 1 texts: one that cannot be used does not affect the others.

    If they belong `together`, one that cannot be used raises Unusable, and none is counted.
    """
    cleaned = [_cleaned(one) for one in texts]
    if together and (reasons := [(place, one) for place, one in enumerate(cleaned) if isinstance(one, Unusable)]):
        place, reason = reasons[0]
        raise Unusable(f"in text {place}, {reason}")
    usable = [one for one in cleaned if isinstance(one, str)]
    found = iter(_outcomes(telemetry, served, usable) if usable else ())
    return [one if isinstance(one, Unusable) else next(found) for one in cleaned]


def explain(served: Served, given: str) -> Explanation:
    """Leave out the tokens of one text, one at a time; raises Unusable.

    The value of a token is the decrease of the class's log-odds without it. Tokens that share a character are left out
    together, as are neighbours if there are more than PARTS.
    """
    plain, tokenizer = text.clean(given), served.texts.tokenizer
    [row], [cut] = tokenizer.ids([plain])
    groups, spans = _parts([(token.start, token.end) for token in tokenizer.tokens(plain)])
    ids = np.full((1 + len(groups), len(row)), PADDING, np.int32)
    ids[0] = row
    for number, group in enumerate(groups, 1):
        kept = np.delete(row, group)
        ids[number, : len(kept)] = kept
    logits, probabilities, _ = served.texts.run(ids)
    best = int(probabilities[0].argmax())
    scores = log_odds(logits / served.bundle.manifest.temperature, best)
    parts, done = [], 0
    for (start, end), value in zip(spans, (scores[0] - scores[1:]).tolist(), strict=True):
        parts += [(plain[done:start], None), (plain[start:end], value)]
        done = end
    parts.append((plain[done:], None))
    shown = [part for part in parts if part[0]]
    return Explanation(best, float(probabilities[0, best]), bool(cut), shown)


def _cleaned(given: str) -> str | Unusable:
    try:
        return text.clean(given)
    except Unusable as reason:
        return reason


def _outcomes(telemetry: Telemetry, served: Served, texts: Sequence[str]) -> list[Outcome]:
    tokenizer, started = served.texts.tokenizer, perf_counter()
    ids, cut = tokenizer.ids(texts)
    tokens, unknown = (ids != PADDING).sum(1), tokenizer.unknown(ids)
    logits, probabilities, embeddings = served.texts.run(ids)
    seconds = perf_counter() - started
    telemetry.inferred(seconds)
    telemetry.predicted(served.bundle, probabilities)
    telemetry.tokenized(tokens, unknown, cut)
    served.see(np.column_stack([tokens, unknown]), probabilities)
    similar = [None] * len(texts) if embeddings is None else served.texts.faq.nearest(embeddings)
    columns = logits, probabilities, tokens.tolist(), cut.tolist(), similar
    return [Outcome(*values, 1000 * seconds) for values in zip(*columns, strict=True)]


def _parts(spans: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """The indices of the tokens of at most PARTS parts of a text, and each part's place in the text (start, end).

    `spans` are the places of the tokens. Tokens without text belong to no part.
    """
    groups: list[list[int]] = []
    places: list[tuple[int, int]] = []
    for index, (start, end) in enumerate(spans):
        if start == end:
            continue
        if groups and start < places[-1][1]:  # tokens of bytes share a character
            groups[-1].append(index)
            places[-1] = places[-1][0], max(end, places[-1][1])
        else:
            groups.append([index])
            places.append((start, end))
    size = max(1, -(-len(groups) // PARTS))
    starts = range(0, len(groups), size)
    merged = [[*chain.from_iterable(groups[first : first + size])] for first in starts]
    return merged, [(places[first][0], places[min(first + size, len(places)) - 1][1]) for first in starts]
