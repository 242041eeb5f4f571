"""Explain recommendations: how much each event of a history supports or opposes the recommended item."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.explain import text_page
from darkroom.explain.sequences import Sequences
from darkroom.models.sequences import PADDING
from darkroom.recommend import histories
from darkroom.tokens.text import Token

ARRAYS = "data/arrays"
_BETWEEN = " · "  # items


def recommended(probabilities: np.ndarray, rows: np.ndarray, seen_items: str) -> np.ndarray:
    """The probabilities (n, items) of the test examples `rows` (n,), 0 for items that are not recommended to them."""
    left_out = histories.left_out(ARRAYS, "test", seen_items)[rows]
    found = probabilities.copy()
    found[left_out.nonzero()] = 0
    return found


class Histories(Sequences):
    """See `images.Images`; maps are (n, L) float32."""

    def __init__(self, network: nn.Module, manifest: Manifest, shown: int, wanted: int):
        items, inputs = len(manifest.classes), arrays.read_split(ARRAYS, "test").inputs
        titles = arrays.read_items(ARRAYS).titles.tolist()
        self._names = [title or name for title, name in zip(titles, manifest.classes, strict=True)]
        super().__init__(network, inputs, items, items + 1, (PADDING,), shown, wanted)

    def draw(
        self,
        folder: Path,
        test: Split,
        chosen: np.ndarray,
        probabilities: np.ndarray,
        kinds: Sequence[str],
        maps: dict[str, np.ndarray],
        scores: dict[str, Any],
        notes: Sequence[str],
    ) -> None:
        """Write attributions.html with the histories at `chosen` (n,)."""
        examples = []
        for row, index in enumerate(chosen.tolist()):
            history = [token for token in test.inputs[index].tolist() if token != PADDING]
            text, tokens = _text([self._names[token - 1] for token in history])
            examples.append(
                text_page.Example(
                    kind=kinds[row],
                    text=text,
                    tokens=tokens,
                    label=self._names[test.labels[index]],
                    predicted=self._names[probabilities[row].argmax()],
                    confidence=float(probabilities[row].max()),
                    values={name: values[row, : len(tokens)] for name, values in maps.items()},
                )
            )
        page = text_page.html(examples, notes, "events", "next item → recommended", "recommended item")
        (folder / "attributions.html").write_text(page, encoding="utf-8")


def _text(names: Sequence[str]) -> tuple[str, list[Token]]:
    """The names of the items of a history as one text, and where each is in it."""
    tokens, start = [], 0
    for name in names:
        tokens.append(Token(0, start, start + len(name)))
        start += len(name) + len(_BETWEEN)
    return _BETWEEN.join(names), tokens
