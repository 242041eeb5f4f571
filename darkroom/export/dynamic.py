"""What exports of texts, rows of a table and histories share: the graph's metadata, int8 weights, and their timing."""

import io
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.registry import IntegerOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from darkroom.bundle import classifier
from darkroom.models.checkpoints import Trained

_ROUNDS, _RUNS = 15, 20  # of the timing: rounds, and runs of each model per round


class Classifier(nn.Module):
    """Logits, and probabilities by temperature scaling."""

    def __init__(self, network: nn.Module, temperature: float):
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(inputs)
        return logits, (logits / self.temperature).softmax(1)


def quantised(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with int8 weights of its matrix products and embeddings; activations get their ranges as they come.

    Convolutions stay as they are: ONNX Runtime has no fast one for such activations. On a CPU, text_cnn takes 2.6 times
    as long with them in int8, and as long as fp32 without.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, prepared, found = (Path(folder, f"{name}.onnx") for name in ("given", "prepared", "quantised"))
        onnx.save(graph, given)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        kinds = sorted(IntegerOpsRegistry.keys() - {"Conv"})
        quantize_dynamic(prepared, found, kinds, per_channel=True, weight_type=QuantType.QInt8)
        return _with_used_operators(onnx.load(found))


def _with_used_operators(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without sets of operators that it does not use: other versions of them would forbid joining graphs."""
    domains = {node.domain for node in graph.graph.node}
    used = [one for one in graph.opset_import if one.domain in domains]
    del graph.opset_import[:]
    graph.opset_import.extend(used)
    return graph


def contents(graph: onnx.ModelProto, trained: Trained, calibration: Mapping[str, Any]) -> bytes:
    """The contents of an ONNX file, whose metadata describes the model to a reader who has only this file."""
    described = trained.description
    graph.graph.name = described.name
    graph.producer_name, graph.producer_version = "darkroom", ""
    strings = {name: getattr(described, name) for name in ("dataset", "title", "licence", "data_sha256")}
    values = {name: calibration[name] for name in ("temperature", "threshold") if name in calibration}
    values["classes"] = described.classes
    onnx.helper.set_model_props(
        graph, strings | {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    )
    return graph.SerializeToString(deterministic=True)


def golden(models: Mapping[str, bytes], feeds: Mapping[str, np.ndarray]) -> bytes:
    """The contents of golden.npz: these inputs, and what each of `models` (ONNX files by variant) gives for them."""
    found = {name: values.astype(str) if values.dtype == object else values for name, values in feeds.items()}
    for variant, model in models.items():
        outputs = classifier.open_session(model, threads=1).run(classifier.OUTPUTS, dict(feeds))
        found |= zip(classifier.golden_names(variant), outputs, strict=True)
    file = io.BytesIO()
    np.savez(file, **found)
    return file.getvalue()


def speedup(models: Mapping[str, bytes], feeds: Mapping[str, np.ndarray], runs: int = _RUNS) -> float:
    """How much less processor time int8 takes than fp32 for these inputs, on one thread.

    The median of several rounds, in CPU time of the thread, which depends least on other processes.
    """
    sessions = [classifier.open_session(models[variant], threads=1) for variant in ("fp32", "int8")]
    ratios = []
    for _ in range(_ROUNDS):
        seconds = []
        for session in sessions:
            started = time.thread_time()
            for _ in range(runs):
                session.run(classifier.OUTPUTS, feeds)
            seconds.append(time.thread_time() - started)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios)
