"""Run the exported classifier of texts: a bundle as in `classifier`, whose model takes tokens.

model.onnx      tokens (batch, length) int64, padded with 0 at the end -> logits and probabilities, each (batch, K);
                with a table of questions also sentence_embedding (batch, D)
tokenizer.json  makes the tokens of a text; the library tokenizers runs it
answers.json    answers by class and language, if the dataset has a table of answers
faq.json, .npy  frequently asked questions, if the dataset has a table of them: darkroom/bundle/faq.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from onnxruntime import InferenceSession
from pydantic import TypeAdapter, ValidationError

from darkroom.bundle import faq
from darkroom.bundle.classifier import EMBEDDING, OUTPUTS, REMEDY, TOKENS, Bundle
from darkroom.bundle.faq import Faq
from darkroom.core.errors import DarkroomError
from darkroom.tokens import text
from darkroom.tokens.text import PADDING, Tokenizer

ANSWERS = "answers.json"
_ANSWERS = TypeAdapter(dict[str, dict[str, str]])
_MAX_TOKENS = 1024  # of a batch with its padding: more are not faster, and take memory


@dataclass(frozen=True)
class TextClassifier:
    """A bundle of texts, ready to run. Thread-safe."""

    bundle: Bundle

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the bundle."""
        return Tokenizer(self.bundle.others[text.FILE], self.bundle.manifest.shape[0])

    @cached_property
    def answers(self) -> dict[str, dict[str, str]]:
        """The answers to give by class and language, which is "" if none is given; a class may have none."""
        try:
            return _ANSWERS.validate_json(self.bundle.others.get(ANSWERS, b"{}"))
        except ValidationError as error:
            raise DarkroomError(f"{ANSWERS} is not valid ({error.errors()[0]['msg']}): {REMEDY}.") from None

    def answer(self, label: str, language: str = "") -> str | None:
        """The answer for a class in a language such as de or de-ch; else in de, in no language, or the first one."""
        found, language = self.answers.get(label, {}), language.lower()
        wanted = (language, language.partition("-")[0], "", *found)
        return next((found[name] for name in wanted if name in found), None)

    @cached_property
    def faq(self) -> Faq | None:
        """The frequently asked questions, if the bundle has any."""
        return faq.read(self.bundle.others)

    def prepare(self) -> None:
        """Read all files now rather than with the first text; raises DarkroomError if one is invalid."""
        for _ in (self.tokenizer, self.answers, self.faq):
            pass

    def predict(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, each (N, K) float32, of N >= 1 cleaned texts."""
        logits, probabilities = answers(self.bundle.session, self.tokenizer.ids(texts)[0])
        return logits, probabilities

    def run(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Logits and probabilities, each (N, K), and embeddings (N, D), of tokens (N, L), N >= 1; all float32.

        Without frequently asked questions there are no embeddings.
        """
        if self.faq is None:
            return *answers(self.bundle.session, ids), None
        logits, probabilities, embeddings = answers(self.bundle.session, ids, outputs=[*OUTPUTS, EMBEDDING])
        return logits, probabilities, embeddings


def answers(
    session: InferenceSession, ids: np.ndarray, limit: int = 500, outputs: Sequence[str] = OUTPUTS
) -> tuple[np.ndarray, ...]:
    """The `outputs` of the model, each (N, ...) float32, for tokens (N, L) of integers, N at least 1.

    A batch has at most `limit` texts, of similar length, so that padding is hardly computed.
    """
    lengths = np.maximum(1, (ids != PADDING).sum(1))
    order, found, start = np.argsort(lengths, kind="stable"), [], 0
    while start < len(order):
        widths = lengths[order[start : start + limit]]
        size = max(1, int((widths * np.arange(1, len(widths) + 1) <= _MAX_TOKENS).sum()))
        batch = ids[order[start : start + size], : widths[size - 1]].astype(np.int64)
        found.append(session.run([*outputs], {TOKENS: batch}))
        start += size
    back = np.argsort(order)
    return tuple(np.concatenate(parts)[back] for parts in zip(*found, strict=True))
