"""Accuracy and latency of a trained network as it would be exported: as an ONNX graph, in fp32 and int8."""

import statistics
import time
from typing import Any

import numpy as np
import onnx
from scipy.stats import binom
from torch import nn

from darkroom.bundle.classifier import open_session
from darkroom.core.arrays import Split
from darkroom.core.randomness import numpy_generator
from darkroom.export import quantisation
from darkroom.export.config import ExportConfig
from darkroom.export.graph import to_onnx
from darkroom.models.checkpoints import Description

RUNS = 300  # timed runs on one image, after a tenth as many to warm up
_BATCH = 500


def measure(
    network: nn.Module, description: Description, train: Split, val: Split, settings: ExportConfig, seed: int
) -> dict[str, Any]:
    """Latencies in ms of one image on one CPU thread, with intervals, and validation accuracies of both variants.

    The int8 ranges come from images of `train`, by the `settings` of the stage export. Moves `network` to the CPU.
    """
    graph = to_onnx(network.cpu().eval(), description, 1.0, settings.opset)
    images = train.inputs[quantisation.sample(train.labels, settings.int8.calibration_samples, seed)]
    found: dict[str, Any] = {}
    for suffix, model in (("", graph), ("_int8", quantisation.quantise(graph, images))):
        milliseconds, interval = latency(model, val.inputs, seed)
        found |= {f"latency{suffix}_ms": milliseconds, f"latency{suffix}_ms_interval": interval}
        found |= {f"val_accuracy_exported{suffix}": accuracy(model, val)}
    return found


def latency(model: onnx.ModelProto, images: np.ndarray, seed: int) -> tuple[float, list[float]]:
    """Median milliseconds of one image (1, H, W, C) uint8, and the 95 % interval of the median by order statistics."""
    session, name = open_session(model.SerializeToString(), threads=1), model.graph.input[0].name
    chosen = numpy_generator(seed, "latency").integers(len(images), size=RUNS + RUNS // 10)
    seconds = []
    for index in chosen.tolist():
        image = np.ascontiguousarray(images[index : index + 1])
        started = time.perf_counter()
        session.run(None, {name: image})
        seconds.append(time.perf_counter() - started)
    timed = sorted(1000 * value for value in seconds[-RUNS:])
    low = int(binom.ppf(0.025, RUNS, 0.5))
    return round(statistics.median(timed), 4), [round(timed[low - 1], 4), round(timed[RUNS - low], 4)]


def accuracy(model: onnx.ModelProto, split: Split) -> float:
    """The fraction of the split's examples that the graph classifies correctly."""
    session, name = open_session(model.SerializeToString(), threads=1), model.graph.input[0].name
    correct = 0
    for start in range(0, len(split), _BATCH):
        logits, _ = session.run(None, {name: np.ascontiguousarray(split.inputs[start : start + _BATCH])})
        correct += int((logits.argmax(1) == split.labels[start : start + _BATCH]).sum())
    return correct / len(split)
