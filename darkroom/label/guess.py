"""What the exported model says of an example, for a person who asks."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from darkroom.core.errors import DarkroomError
from darkroom.inputs.image import Unusable
from darkroom.label.examples import Example
from darkroom.label.images import Images
from darkroom.label.texts import Texts

BUNDLE = Path("models/bundle")
SHOWN = 3  # classes
_THREADS = 2


@dataclass
class Guesses:
    """The model in models/bundle, which is opened for the first guess."""

    inputs: Images | Texts
    classes: Sequence[str]
    folder: Path = BUNDLE
    _model: object = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, example: Example) -> dict[str, object]:
        """The most probable classes with their probabilities, or why there is no guess; and why the example is shown.

        Without a usable model it is the class that was predicted when the list of examples was made.
        """
        try:
            with self._lock:
                found = self._predicted(example.id)
        except (DarkroomError, Unusable) as error:
            if not example.predicted:
                return {"classes": [], "reason": example.reason, "problem": f"There is no guess: {error}"}
            found = [{"label": example.predicted, "probability": None}]
        return {"classes": found, "reason": example.reason, "problem": ""}

    def _predicted(self, example: str) -> list[dict[str, object]]:
        from darkroom.bundle import classifier  # onnxruntime takes long to import, and few ask

        if not (self.folder / classifier.MANIFEST).exists():
            raise DarkroomError(f"no model in {self.folder}: `dvc repro export` writes it.")
        self._model = self._model or classifier.read(self.folder, _THREADS)
        manifest = self._model.manifest
        if set(manifest.classes) - set(self.classes):
            raise DarkroomError(f"the model in {self.folder} was trained on other classes ({manifest.title}).")
        probabilities = self.inputs.probabilities(self._model, example)
        order = np.argsort(-probabilities, kind="stable")[:SHOWN].tolist()
        return [{"label": manifest.classes[label], "probability": float(probabilities[label])} for label in order]
