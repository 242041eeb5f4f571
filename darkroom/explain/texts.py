"""Explain predictions for texts: how much each token supports or opposes the predicted class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.explain import text_page
from darkroom.explain.sequences import Sequences
from darkroom.tokens import text
from darkroom.tokens.text import Tokenizer

ARRAYS = "data/arrays"


class Texts(Sequences):
    """See `images.Images`; maps are (n, L) float32, 0 for tokens that stand for nothing in the text."""

    def __init__(self, network: nn.Module, manifest: Manifest, shown: int, wanted: int):
        length, vocabulary = manifest.shape
        self._classes = manifest.classes
        self._tokenizer = Tokenizer((Path(ARRAYS) / text.FILE).read_bytes(), length)
        inputs = arrays.read_split(ARRAYS, "test").inputs
        super().__init__(network, inputs, len(manifest.classes), vocabulary, self._tokenizer.special, shown, wanted)

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
        """Write attributions.html with the texts at `chosen` (n,)."""
        texts = arrays.read_texts(ARRAYS, "test")
        examples = []
        for row, index in enumerate(chosen.tolist()):
            tokens = self._tokenizer.tokens(texts[index])
            examples.append(
                text_page.Example(
                    kind=kinds[row],
                    text=texts[index],
                    tokens=tokens,
                    label=self._classes[test.labels[index]],
                    predicted=self._classes[probabilities[row].argmax()],
                    confidence=float(probabilities[row].max()),
                    values={name: values[row, : len(tokens)] for name, values in maps.items()},
                )
            )
        (folder / "attributions.html").write_text(text_page.html(examples, notes), encoding="utf-8")
