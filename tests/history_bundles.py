"""Small bundles of histories whose recommendations are easy to compute: each item has a score for each next item."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from darkroom.bundle import classifier, drift
from darkroom.core.outputs import new_folder

HOSTILE = "<img src=x onerror=alert(1)><b>Film</b>"
ITEMS = {"7": "Alien", "12": "Brazil", "a b": HOSTILE, "0": "\u0641\u064a\u0644\u0645", "x": ""}  # titles by id
EVENTS = (5, 9, 0, 1, 5)  # in the training data: the order of popularity is 12, 7, x, 0, "a b"
LENGTH = 4  # items that the model reads
SCORES = np.array(  # row: an item of the history, column: the next item
    [[0, 3, 2, 1, 0], [1, 0, 3, 2, 0], [0, 1, 0, 3, 2], [2, 0, 1, 0, 3], [3, 2, 0, 1, 0]], np.float32
)


def write(
    folder: str | Path,
    items: Mapping[str, str] = MappingProxyType(ITEMS),
    counts: Sequence[int] = EVENTS,
    table: np.ndarray = SCORES,
    files: Mapping[str, bytes] = MappingProxyType({}),
    **manifest: Any,
) -> None:
    """Write a complete bundle to `folder`, which it replaces.

    `table` (K, K) are the scores; `files` are contents by name instead of the usual ones; `manifest` holds fields of
    HistoryManifest to change.
    """
    with new_folder(folder) as new:
        (new / "model.onnx").write_bytes(model(table))
        (new / "items.csv").write_bytes(described(items, counts))
        given = np.zeros((2, LENGTH), np.int64)
        given[0, :1], given[1] = 1, 2
        logits = scores(given, table)
        np.savez(new / "golden.npz", items=given, logits=logits, probabilities=softmax(logits))
        for name, contents in files.items():
            (new / name).write_bytes(contents)
        fields = {
            "format": classifier.FORMAT,
            "kind": "history",
            "model": "transitions",
            "dataset": "toy",
            "title": "Films",
            "licence": "MIT",
            "data_sha256": "0" * 64,
            "classes": list(items),
            "shape": [LENGTH, len(items) + 1, 0],
            "pretrained": None,
            "teacher": None,
            "opset": 20,
            "temperature": 1.0,
            "metrics": {"accuracy": 0.1, "hr_at_10": 0.5, "samples": 8},
            "reference": reference(8),
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(new.iterdir())},
        }
        (new / "manifest.json").write_text(json.dumps(fields | manifest), encoding="utf-8")


def described(items: Mapping[str, str], counts: Sequence[int]) -> bytes:
    """The contents of items.csv."""
    file = io.StringIO(newline="")
    rows = [[item, title, count] for (item, title), count in zip(items.items(), counts, strict=True)]
    csv.writer(file, lineterminator="\n").writerows([["item", "title", "train_events"], *rows])
    return file.getvalue().encode()


def scores(given: np.ndarray, table: np.ndarray = SCORES) -> np.ndarray:
    """The logits (N, K) float32 of sequences (N, L)."""
    return np.vstack([np.zeros((1, len(table)), np.float32), table])[given].sum(1)


def of(history: Sequence[str]) -> np.ndarray:
    """The logits (K,) after a history of ids."""
    known = [list(ITEMS).index(item) + 1 for item in history if item in ITEMS][-LENGTH:]
    return scores(np.array([known]))[0]


def softmax(logits: np.ndarray) -> np.ndarray:
    """The probabilities (..., K) float32 of logits (..., K)."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return (exponentials / exponentials.sum(-1, keepdims=True)).astype(np.float32)


def reference(count: int) -> dict[str, Any]:
    """The drift reference of `count` histories of one item each, in turn."""
    logits = scores(1 + np.arange(count)[:, None] % 5)
    popularity = np.array(EVENTS)[logits.argmax(1)]
    measured = np.column_stack([np.ones(count, int), np.zeros(count, int), popularity])
    return drift.reference_of("history", measured, softmax(logits).max(1, keepdims=True))


def model(table: np.ndarray) -> bytes:
    """The contents of the ONNX file: the sum of the scores of the items of the history."""
    nodes = [
        helper.make_node("Gather", ["table", "items"], ["found"]),
        helper.make_node("ReduceSum", ["found", "axes"], ["logits"], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    padded = np.vstack([np.zeros((1, len(table)), np.float32), table]).astype(np.float32)
    constants = {"table": padded, "axes": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "transitions",
        [helper.make_tensor_value_info("items", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", len(table)]) for name in classifier.OUTPUTS],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    return made.SerializeToString(deterministic=True)
