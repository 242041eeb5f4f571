"""Small bundles of texts whose predictions are easy to compute: each word has a score for each class."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import tokenizers
from onnx import TensorProto, helper, numpy_helper
from tokenizers import models, normalizers, pre_tokenizers

from darkroom.bundle import classifier, drift, faq
from darkroom.core.outputs import new_folder

CLASSES = ("card", "pin", "money")
WORDS = {  # by word: the score of each class, which the model adds
    "[PAD]": (0, 0, 0),
    "[UNK]": (0, 0, 0),
    "card": (4, 0, 0),
    "lost": (2, 1, 0),
    "pin": (0, 4, 0),
    "money": (0, 0, 4),
    "not": (-1, -1, 1),
    "my": (0, 0, 0),
    "بطاقة": (4, 0, 0),
    "卡": (4, 0, 0),
}
LENGTH = 8  # tokens
ANSWERS = {"card": "We send a <b>new</b> card.", "pin": "Change it in the app."}  # in English
GERMAN = {"card": "Wir senden eine neue Karte."}
THRESHOLD = 0.9


def write(
    folder: str | Path,
    classes: Sequence[str] = CLASSES,
    questions: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] = MappingProxyType({}),
    **manifest: Any,
) -> None:
    """Write a complete bundle to `folder`, which it replaces.

    `questions` are frequently asked questions with their answers; `files` are contents by name instead of the usual
    ones; `manifest` holds fields of TextManifest to change.
    """
    with new_folder(folder) as new:
        (new / "model.onnx").write_bytes(model(questions is not None))
        (new / "tokenizer.json").write_text(tokenizer(), encoding="utf-8")
        (new / "answers.json").write_text(json.dumps(answers()), encoding="utf-8")
        tokens = np.zeros((8, LENGTH), np.int64)
        tokens[:, 0] = np.arange(8) + 1
        logits = scores(tokens)
        np.savez(new / "golden.npz", tokens=tokens, logits=logits, probabilities=softmax(logits))
        if questions is not None:
            found = scores(np.array([ids(question) for question in questions]))
            entries = [{"question": one, "answer": other} for one, other in questions.items()]
            embeddings = found / np.linalg.norm(found, axis=1, keepdims=True)
            for name, contents in faq.files(entries, embeddings).items():
                (new / name).write_bytes(contents)
        for name, contents in files.items():
            (new / name).write_bytes(contents)
        fields = {
            "format": classifier.FORMAT,
            "kind": "text",
            "model": "words",
            "dataset": "toy",
            "title": "Questions",
            "licence": "MIT",
            "data_sha256": "0" * 64,
            "classes": list(classes),
            "shape": [LENGTH, len(WORDS)],
            "pretrained": None,
            "teacher": None,
            "opset": 22,
            "temperature": 1.0,
            "threshold": THRESHOLD,
            "target_accuracy": 0.98,
            "target_confidence": 0.95,
            "validation_examples": 500,
            "conformal": {"coverage": 0.95, "marginal": 0.3, "class_conditional": [0.1] * 3},
            "metrics": {"accuracy": 0.9, "samples": 8},
            "reference": reference(8),
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(new.iterdir())},
        }
        (new / "manifest.json").write_text(json.dumps(fields | manifest), encoding="utf-8")


def answers() -> dict[str, dict[str, str]]:
    """The contents of answers.json."""
    found = {label: {"": answer} for label, answer in ANSWERS.items()}
    for label, answer in GERMAN.items():
        found[label]["de"] = answer
    return found


def ids(text: str) -> list[int]:
    """The padded tokens of a text."""
    words = list(WORDS)
    found = [words.index(word) if word in WORDS else 1 for word in text.lower().split()][:LENGTH]
    return found + [0] * (LENGTH - len(found))


def scores(tokens: np.ndarray) -> np.ndarray:
    """The logits (N, 3) float32 of tokens (N, L)."""
    return np.array(list(WORDS.values()), np.float32)[tokens].sum(1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """The probabilities (N, K) float32 of logits (N, K)."""
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return (exponentials / exponentials.sum(1, keepdims=True)).astype(np.float32)


def reference(count: int) -> dict[str, Any]:
    """The drift reference of `count` texts of known words: one word each, of the classes in turn."""
    tokens = np.array([ids(CLASSES[number % 3]) for number in range(count)])
    measured = np.column_stack([np.ones(count), np.zeros(count)])
    return drift.reference_of("text", measured, softmax(scores(tokens)))


def tokenizer() -> str:
    """The contents of tokenizer.json: lower-cased words."""
    made = tokenizers.Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, "[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["[PAD]", "[UNK]"])
    return made.to_str()


def model(embedding: bool = False) -> bytes:
    """The contents of the ONNX file; its embedding is the logits with length 1."""
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["found"]),
        helper.make_node("ReduceSum", ["found", "axes"], ["logits"], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    outputs = [("logits", 3), ("probabilities", 3)]
    if embedding:
        nodes.append(helper.make_node("LpNormalization", ["logits"], ["sentence_embedding"], axis=-1, p=2))
        outputs.append(("sentence_embedding", 3))
    constants = {"table": np.array(list(WORDS.values()), np.float32), "axes": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "words",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    return made.SerializeToString(deterministic=True)
