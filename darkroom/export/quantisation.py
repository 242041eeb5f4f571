"""The network of an ONNX graph in 8 bits: convolutions and matrix products on integers, scaled by what training pictures show."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from darkroom.core.randomness import numpy_generator

PRODUCTS = ("Conv", "Gemm", "MatMul")  # with pooling and addition in 8 bits too it is neither faster nor nearer
_BATCH = 50  # pictures that calibration runs at a time


def sample(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The places of about n pictures, at least one of each class, drawn from each class of labels (N,) int64 by its share."""
    places = []
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        drawn = numpy_generator(seed, "calibration", int(label)).permutation(of_class)
        places.append(drawn[: max(1, round(n * len(of_class) / len(labels)))])
    return np.sort(np.concatenate(places))


def quantise(model: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
    """`model` with its products in 8 bits; the ranges of what goes through it are those that images (n, H, W, C) uint8 show."""
    with tempfile.TemporaryDirectory() as folder:
        given, prepared, quantised = (Path(folder, f"{name}.onnx") for name in ("given", "prepared", "quantised"))
        onnx.save(model, given)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantised,
            _Pictures(model.graph.input[0].name, images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(PRODUCTS),
            per_channel=True,
            activation_type=QuantType.QUInt8,  # with signed weights, the one pair that x86 multiplies fast: others run at half the speed
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(quantised)


class _Pictures(CalibrationDataReader):
    def __init__(self, name: str, images: np.ndarray):
        self._batches: Iterator[dict[str, np.ndarray]] = (
            {name: np.ascontiguousarray(images[start : start + _BATCH])} for start in range(0, len(images), _BATCH)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)
