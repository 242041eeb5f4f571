"""Export a classifier of texts: a graph from tokens to probabilities, the tokenizer, and answers by class."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darkroom.bundle import classifier, drift
from darkroom.bundle import texts as bundled
from darkroom.bundle.classifier import TOKENS, VARIANTS
from darkroom.bundle.manifest import TextManifest
from darkroom.core import arrays
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import numpy_generator
from darkroom.export import bundling, dynamic, gates
from darkroom.export.config import ExportConfig, Int8Config
from darkroom.export.graph import convert
from darkroom.inputs.config import ImageConfig
from darkroom.models.checkpoints import Trained
from darkroom.tokens import text
from darkroom.tokens.text import PADDING, Tokenizer

ARRAYS = "data/arrays"
GOLDEN_TEXTS = 8


class Texts:
    """The exported files of a trained network of texts, and their checks from raw text."""

    def __init__(
        self, trained: Trained, calibration: Mapping[str, Any], _: ImageConfig, settings: ExportConfig, seed: int
    ):
        self._trained, self._calibration, self._settings = trained, calibration, settings
        self._tokenizer_file = (Path(ARRAYS) / text.FILE).read_bytes()
        self._tokenizer = Tokenizer(self._tokenizer_file, trained.description.shape[0])
        model = dynamic.Classifier(trained.network, calibration["temperature"])
        tokens = torch.ones(2, 7, dtype=torch.int64)
        sizes = {"inputs": {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=self._tokenizer.length)}}
        program = torch.export.export(model.eval(), (tokens,), dynamic_shapes=sizes)
        graph = convert(program, sizes, TOKENS, classifier.OUTPUTS, settings.opset)
        graphs = {"fp32": graph, "int8": dynamic.quantised(graph)}
        self.models = {variant: dynamic.contents(graph, trained, calibration) for variant, graph in graphs.items()}
        self._sessions = {
            variant: classifier.open_session(model, trained.threads) for variant, model in self.models.items()
        }
        # From raw text, as in production: cleaning again must change nothing.
        self._ids, _ = self._tokenizer.ids([text.clean(one) for one in arrays.read_texts(ARRAYS, "test")])

    def require_parity(self, expected: np.ndarray, tolerance: float) -> dict[str, float]:
        """As `gates.require_parity`, on all test texts, and on some in batches of 1 and 3."""
        few = np.arange(0, len(self._ids), 10)
        found = []
        for part, limit in ((slice(None), 500), (few, 1), (few, 3)):
            exported = bundled.answers(self._sessions["fp32"], self._ids[part], limit)
            found.append(gates.compare(expected[part], *exported, tolerance))
        return max(found, key=lambda numbers: numbers["max_abs_difference"]) | {"samples": len(self._ids)}

    def measure_speedup(self) -> float:
        """As `gates.measure_speedup`, on one text of the median length."""
        lengths = (self._ids != PADDING).sum(1)
        chosen = np.argsort(lengths, kind="stable")[len(lengths) // 2]
        feeds = {TOKENS: self._ids[chosen : chosen + 1, : lengths[chosen]].astype(np.int64)}
        return dynamic.speedup(self.models, feeds)

    def classify_int8(self, _: np.ndarray, __: Int8Config) -> tuple[np.ndarray, np.ndarray]:
        """Indices (n,) and predicted classes (n,) of int8 for all test texts."""
        return np.arange(len(self._ids)), bundled.answers(self._sessions["int8"], self._ids)[1].argmax(1)

    def files(self) -> dict[str, bytes]:
        """The contents of the bundle's files by name; int8 is left out if it was taken out of `models`."""
        found = {VARIANTS[variant]: model for variant, model in self.models.items()}
        found[classifier.GOLDEN] = self._golden()
        found[text.FILE] = self._tokenizer_file
        if answers := _answers(self._trained.manifest.dataset, self._trained.description.classes):
            found[bundled.ANSWERS] = json.dumps(answers, ensure_ascii=False, indent=2).encode()
        return found

    def describe(self, evaluated: Mapping[str, Any], files: Mapping[str, bytes]) -> TextManifest:
        """The manifest of the bundle."""
        val = self._trained.split("val").inputs
        probabilities = bundled.answers(self._sessions["fp32"], val)[1]
        reference = drift.reference_of("text", (val != PADDING).sum(1), probabilities)
        common = bundling.common(self._trained, self._settings.opset, self._calibration, evaluated, reference, files)
        return TextManifest(**common)

    def require_preprocessing(self, _: TextManifest) -> dict[str, int]:
        """Raise DarkroomError unless the tokens of the test texts are those that the network was evaluated on."""
        changed = int((self._ids != self._trained.split("test").inputs).any(1).sum())
        if changed:
            raise DarkroomError(f"{changed} test texts have other tokens than in data/arrays: run `dvc repro`.")
        return {}

    def _golden(self) -> bytes:
        """Random tokens and the outputs of each model, as in `bundling.golden`."""
        length, vocabulary = self._trained.description.shape
        tokens = numpy_generator(0, "golden").integers(1, vocabulary, (GOLDEN_TEXTS, length))
        for number, row in enumerate(tokens):
            row[2 * number + 2 :] = PADDING
        found = {TOKENS: tokens}
        for variant, model in self.models.items():
            outputs = classifier.open_session(model, threads=1).run(classifier.OUTPUTS, {TOKENS: tokens})
            found |= zip(classifier.golden_names(variant), outputs, strict=True)
        file = io.BytesIO()
        np.savez(file, **found)
        return file.getvalue()


def _answers(dataset: str, classes: tuple[str, ...]) -> dict[str, str]:
    """The answers in answers.csv of the dataset's folder, by class; empty if there is no such file."""
    path = Path("data/datasets", dataset, "answers.csv")
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True))
        found = {row["intent"]: row["answer"] for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DarkroomError(f"{path} needs the columns intent and answer, in UTF-8 ({error}): correct it.") from None
    if unknown := [name for name in found if name not in classes]:
        raise DarkroomError(f"{path} has an answer for {unknown[0]!r}, which is no class: correct the name.")
    return found
