"""Explain predictions for texts: how much each token supports or opposes the predicted class."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.explain.sequences import Sequences
from darkroom.tokens import text
from darkroom.tokens.text import Token, Tokenizer

ARRAYS = "data/arrays"


class Texts(Sequences):
    """See `images.Images`; maps are (n, L) float32, 0 for tokens that stand for nothing in the text."""

    def __init__(self, network: nn.Module, manifest: Manifest, shown: int, wanted: int):
        length, vocabulary = manifest.shape
        test = arrays.read_split(ARRAYS, "test")
        self._texts = dict(zip(test.ids.tolist(), arrays.read_texts(ARRAYS, "test"), strict=True))
        self._tokenizer = Tokenizer((Path(ARRAYS) / text.FILE).read_bytes(), length)
        super().__init__(network, test.inputs, manifest.classes, vocabulary, self._tokenizer.special, shown, wanted)

    def written(self, test: Split, index: int) -> tuple[str, Sequence[Token]]:
        """The text and its tokens."""
        found = self._texts[test.ids.item(index)]
        return found, self._tokenizer.tokens(found)
