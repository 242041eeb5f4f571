"""Explain recommendations: how much each event of a history supports or opposes the recommended item."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.explain.sequences import Sequences
from darkroom.models.sequences import PADDING
from darkroom.recommend import histories
from darkroom.tokens.text import Token

ARRAYS = "data/arrays"
_BETWEEN = " · "  # items


def recommended(
    test: Split, rows: np.ndarray, probabilities: np.ndarray, seen_items: str
) -> tuple[Split, np.ndarray, np.ndarray]:
    """The examples `test`, at `rows` (n,) of the test split, to which an item is recommended.

    With their rows and their probabilities (n, items), 0 for items that are not recommended to them. Users who have had
    all items are left out.
    """
    left_out = histories.left_out(ARRAYS, "test", seen_items)[rows]
    found = probabilities.copy()
    found[left_out.nonzero()] = 0
    has_item = found.any(1)
    if has_item.all():
        return test, rows, found
    kept = Split(test.inputs[has_item], labels=test.labels[has_item], ids=test.ids[has_item])
    return kept, rows[has_item], found[has_item]


class Histories(Sequences):
    """See `images.Images`; maps are (n, L) float32."""

    words = ("events", "next item → recommended", "recommended item")

    def __init__(self, network: nn.Module, manifest: Manifest, shown: int, wanted: int):
        inputs = arrays.read_split(ARRAYS, "test").inputs
        titles = arrays.read_items(ARRAYS).titles.tolist()
        names = [title or name for title, name in zip(titles, manifest.classes, strict=True)]
        super().__init__(network, inputs, names, len(names) + 1, (PADDING,), shown, wanted)

    def written(self, test: Split, index: int) -> tuple[str, Sequence[Token]]:
        """The names of the items as one text, and where each is in it."""
        history = test.inputs[index][test.inputs[index] != PADDING]
        return _text([self._classes[token - 1] for token in history.tolist()])


def _text(names: Sequence[str]) -> tuple[str, list[Token]]:
    """The names of the items of a history as one text, and where each is in it."""
    tokens, start = [], 0
    for name in names:
        tokens.append(Token(0, start, start + len(name)))
        start += len(name) + len(_BETWEEN)
    return _BETWEEN.join(names), tokens
