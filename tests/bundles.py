"""Small bundles whose predictions are easy to compute: the brightness of an image decides its class."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from darkroom.bundle import classifier, drift
from darkroom.core.outputs import new_folder

SHARPNESS = 40.0
CLASSES = ("dark", "medium", "bright")


def write(
    folder: str | Path,
    classes: Sequence[str] = CLASSES,
    shape: tuple[int, int, int] = (4, 4, 1),
    golden: np.ndarray | None = None,
    **manifest: Any,
) -> None:
    """Write a complete bundle to `folder`, which it replaces.

    `manifest` holds fields of classifier.Manifest to change; `golden` are logits (8, K) instead of the model's. Class k
    of K is correct for an image of mean brightness 255 k / (K - 1): white for the last one. Images may have any size.
    The model does not denoise.
    """
    with new_folder(folder) as new:
        (new / "model.onnx").write_bytes(model(len(classes), shape[-1]))
        images = np.linspace(0, 255, 8 * int(np.prod(shape))).round().astype(np.uint8).reshape(8, *shape)
        logits, probabilities = answers(images, len(classes))
        np.savez(
            new / "golden.npz", images=images, logits=logits if golden is None else golden, probabilities=probabilities
        )
        fields = {
            "format": classifier.FORMAT,
            "model": "brightness",
            "dataset": "toy",
            "title": "Brightness",
            "licence": "MIT",
            "data_sha256": "0" * 64,
            "classes": list(classes),
            "shape": list(shape),
            "resize": "stretch",
            "interpolation": "bilinear",
            "crop_fraction": 1.0,
            "denoise": "none",
            "max_pixels": 1_000_000,
            "intensity_range": None,
            "pretrained": None,
            "teacher": None,
            "opset": 20,
            "temperature": 1.0,
            "threshold": 0.9,
            "target_accuracy": 0.98,
            "target_confidence": 0.95,
            "validation_examples": 500,
            "conformal": {"coverage": 0.95, "marginal": 0.3, "class_conditional": [0.1] * len(classes)},
            "metrics": {"accuracy": 1.0, "samples": 8},
            "reference": reference(8, len(classes)),
            "files": {
                name: hashlib.sha256((new / name).read_bytes()).hexdigest() for name in ("model.onnx", "golden.npz")
            },
        }
        (new / "manifest.json").write_text(json.dumps(fields | manifest), encoding="utf-8")


def grey(brightness: int, shape: tuple[int, int, int] = (4, 4, 1)) -> np.ndarray:
    """One image (1, h, w, C) uint8 of one grey level."""
    return np.full((1, *shape), brightness, np.uint8)


def answers(images: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The model's outputs for images (N, h, w, C) uint8: logits and probabilities, each (N, classes) float32."""
    weights, biases = _line(classes)
    logits = images.mean(axis=(1, 2, 3), dtype=np.float64)[:, None] / 255 * weights + biases
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return logits.astype(np.float32), (exponentials / exponentials.sum(1, keepdims=True)).astype(np.float32)


def reference(count: int, classes: int = 3) -> dict[str, Any]:
    """The result of drift.reference for `count` images of every brightness."""
    images = np.linspace(0, 255, count).round().astype(np.uint8).reshape(count, 1, 1, 1)
    return drift.reference(images, answers(images, classes)[1])


def model(classes: int, channels: int) -> bytes:
    """The contents of the ONNX file."""
    weights, biases = _line(classes)
    constants = {
        "scale": np.float32(255),
        "axes": np.array([1, 2, 3]),
        "weights": weights.reshape(1, -1),
        "biases": biases,
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "scale"], ["brightness"]),
        helper.make_node("Unsqueeze", ["brightness", "last"], ["column"]),
        helper.make_node("MatMul", ["column", "weights"], ["products"]),
        helper.make_node("Add", ["products", "biases"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    constants["last"] = np.array([1])
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", "height", "width", channels])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", classes])
            for name in ("logits", "probabilities")
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    return made.SerializeToString(deterministic=True)


def _line(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases (classes,) float32 for the brightness in 0..1.

    They give -SHARPNESS (brightness - k / (K - 1))^2 without the term that all classes share.
    """
    centres = np.linspace(0, 1, classes)
    return (2 * SHARPNESS * centres).astype(np.float32), (-SHARPNESS * centres**2).astype(np.float32)
