"""Static int8 quantisation of an ONNX graph: convolutions and matrix products use integers, with calibrated ranges."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from darkroom.core.randomness import numpy_generator

PRODUCTS = ("Conv", "Gemm", "MatMul")  # int8 pooling and addition made it neither faster nor more accurate
_BATCH = 50  # images per calibration step


def sample(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Indices of about n examples, stratified by class: at least one per class of labels (N,) int64."""
    indices = []
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        drawn = numpy_generator(seed, "calibration", int(label)).permutation(of_class)
        indices.append(drawn[: max(1, round(n * len(of_class) / len(labels)))])
    return np.sort(np.concatenate(indices))


def quantise(model: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
    """`model` with int8 products; images (n, H, W, C) uint8 set the ranges of the activations."""
    with tempfile.TemporaryDirectory() as folder:
        given, prepared, quantised = (Path(folder, f"{name}.onnx") for name in ("given", "prepared", "quantised"))
        onnx.save(model, given)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantised,
            _Images(model.graph.input[0].name, images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(PRODUCTS),
            per_channel=True,
            activation_type=QuantType.QUInt8,  # on x86, other pairs than unsigned by signed take twice as long
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(quantised)


class _Images(CalibrationDataReader):
    def __init__(self, name: str, images: np.ndarray):
        self._batches: Iterator[dict[str, np.ndarray]] = (
            {name: np.ascontiguousarray(images[start : start + _BATCH])} for start in range(0, len(images), _BATCH)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)
