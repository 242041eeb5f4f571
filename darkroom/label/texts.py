"""The text of an example for the page."""

from dataclasses import dataclass

import numpy as np

from darkroom.label.examples import Packed


@dataclass(frozen=True)
class Texts:
    """The texts of a data set."""

    packed: Packed

    def encoded(self, example: str) -> tuple[bytes, str, str]:
        """The text in UTF-8, its media type, and an empty remark."""
        return self.packed.text(example).encode(), "text/plain; charset=utf-8", ""

    def probabilities(self, model: object, example: str) -> np.ndarray:
        """The probabilities (K,) float32 of `model`, a bundle as `classifier.read` opens it."""
        from darkroom.bundle.texts import TextClassifier  # onnxruntime takes long to import

        return TextClassifier(model).predict([self.packed.text(example)])[1][0]
