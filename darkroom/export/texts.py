"""Export a classifier of texts: a graph from tokens to probabilities, the tokenizer, and the tables of answers."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.bundle import classifier, drift
from darkroom.bundle import faq as bundled_faq
from darkroom.bundle import texts as bundled
from darkroom.bundle.classifier import EMBEDDING, OUTPUTS, TOKENS, VARIANTS
from darkroom.bundle.manifest import TextManifest
from darkroom.core import arrays
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import numpy_generator
from darkroom.export import bundling, dynamic, faq, gates, replies
from darkroom.export.config import ExportConfig, Int8Config
from darkroom.export.graph import convert
from darkroom.inputs.config import ImageConfig
from darkroom.models.checkpoints import Trained
from darkroom.models.sequences import SequenceNetwork
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
        self._questions = _questions(trained)
        model = _Classifier(trained.network, calibration["temperature"], bool(self._questions))
        tokens = torch.ones(2, 7, dtype=torch.int64)
        sizes = {"tokens": {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=self._tokenizer.length)}}
        program = torch.export.export(model.eval(), (tokens,), dynamic_shapes=sizes)
        outputs = [*OUTPUTS, EMBEDDING] if self._questions else OUTPUTS
        graph = convert(program, sizes, TOKENS, outputs, settings.opset)
        graphs = {"fp32": graph, "int8": dynamic.quantised(graph)}
        self.models = {variant: dynamic.contents(graph, trained, calibration) for variant, graph in graphs.items()}
        self._sessions = {
            variant: classifier.open_session(model, trained.threads) for variant, model in self.models.items()
        }
        # From raw text, as in production: cleaning again must change nothing.
        self._ids, _ = self._tokenizer.ids([text.clean(one) for one in arrays.read_texts(ARRAYS, "test")])

    def require_parity(
        self, predict: Callable[[np.ndarray], np.ndarray], tolerance: float
    ) -> tuple[np.ndarray, dict[str, float]]:
        """As of images, on all test texts, and on some in batches of 1 and 3."""
        expected = predict(self._trained.split("test").inputs)
        few = np.arange(0, len(self._ids), 10)
        found = []
        for part, limit in ((slice(None), 500), (few, 1), (few, 3)):
            exported = bundled.answers(self._sessions["fp32"], self._ids[part], limit)
            found.append(gates.compare(expected[part], *exported, tolerance))
        worst = max(found, key=lambda numbers: numbers["max_abs_difference"])
        return expected.argmax(1), worst | {"samples": len(self._ids)}

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
        if (path := _folder(self._trained) / replies.ANSWERS).exists():
            answers = replies.answers(path, self._trained.description.classes)
            found[bundled.ANSWERS] = json.dumps(answers, ensure_ascii=False, indent=2).encode()
        if self._questions:
            entries = [entry._asdict() for entry in self._questions]
            found |= bundled_faq.files(entries, self._embedded([entry.question for entry in self._questions]))
        return found

    def describe(self, evaluated: Mapping[str, Any], files: Mapping[str, bytes]) -> TextManifest:
        """The manifest of the bundle."""
        val = self._trained.split("val").inputs
        probabilities = bundled.answers(self._sessions["fp32"], val)[1]
        measured = np.column_stack([(val != PADDING).sum(1), self._tokenizer.unknown(val)])
        reference = drift.reference_of("text", measured, probabilities)
        common = bundling.common(self._trained, self._settings.opset, self._calibration, evaluated, reference, files)
        return TextManifest(**common)

    def require_preprocessing(self, _: TextManifest) -> dict[str, int]:
        """Raise DarkroomError unless the tokens of the test texts are those that the network was evaluated on."""
        changed = int((self._ids != self._trained.split("test").inputs).any(1).sum())
        if changed:
            raise DarkroomError(f"{changed} test texts have other tokens than in data/arrays: run `dvc repro`.")
        return {}

    def measure_questions(self) -> dict[str, float]:
        """As `faq.recall`, of the test texts, with the number of questions; empty without questions."""
        if not self._questions:
            return {}
        test, classes = self._trained.split("test"), self._trained.description.classes
        questions = self._embedded([entry.question for entry in self._questions])
        intents, labels = [entry.intent for entry in self._questions], [classes[label] for label in test.labels]
        found = faq.recall(questions, intents, self._embedding(self._ids), labels)
        if found:
            ranks = " and ".join(f"{100 * found[f'faq_recall_at_{rank}']:.2f} % at {rank}" for rank in faq.RANKS)
            print(f"{faq.FILE}: {len(intents):,} questions; recall of a question of the same class: {ranks}")
        else:
            print(f"{faq.FILE}: {len(intents):,} questions, not measured: a column intent holds their classes")
        return {"faq_questions": len(intents), **found}

    def _embedded(self, texts: Sequence[str]) -> np.ndarray:
        return self._embedding(self._tokenizer.ids(texts)[0])

    def _embedding(self, ids: np.ndarray) -> np.ndarray:
        """The embeddings (N, D) float32 of tokens (N, L)."""
        [found] = bundled.answers(self._sessions["fp32"], ids, outputs=[EMBEDDING])
        return found

    def _golden(self) -> bytes:
        """Random tokens and the outputs of each model, as in `bundling.golden`."""
        length, vocabulary = self._trained.description.shape
        tokens = numpy_generator(0, "golden").integers(1, vocabulary, (GOLDEN_TEXTS, length))
        for number, row in enumerate(tokens):
            row[2 * number + 2 :] = PADDING
        return dynamic.golden(self.models, {TOKENS: tokens})


class _Classifier(nn.Module):
    """Tokens (N, L) to logits and probabilities; with `embedding` also to what the last layer gets, with length 1."""

    def __init__(self, network: SequenceNetwork, temperature: float, embedding: bool):
        super().__init__()
        self.network, self.temperature, self.embedding = network, temperature, embedding

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        features = self.network.features(self.network.embedding(tokens), tokens != PADDING)
        logits = self.network.head(features)
        found = logits, (logits / self.temperature).softmax(1)
        return (*found, functional.normalize(features, dim=1)) if self.embedding else found


def _folder(trained: Trained) -> Path:
    """The dataset's folder."""
    return Path("data/datasets", trained.manifest.dataset)


def _questions(trained: Trained) -> list[faq.Entry]:
    """The rows of faq.csv in the dataset's folder; none if there is no such file, or if it cannot be used: says why."""
    path = _folder(trained) / faq.FILE
    if not path.exists():
        return []
    try:
        if not trained.description.params.get("pretrained"):
            raise DarkroomError(f"{path} needs pretrained weights, such as model.pretrained = minilm_l6.")
        return faq.read(path, trained.description.classes)
    except DarkroomError as error:  # the classifier is useful without it
        print(f"export: the bundle gets no frequently asked questions. {error}", file=sys.stderr)
        return []
