"""The trained network as one portable ONNX file, with its preprocessing."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import onnx
import onnx.compose
import torch
from torch import Tensor, nn

from darkroom.bundle.classifier import OUTPUTS
from darkroom.export.resizing import RESIZED, resizer
from darkroom.inputs.config import ImageConfig
from darkroom.models.checkpoints import Description
from darkroom.models.normalisation import normalise

Denoise = Literal["none", "median"]
DENOISED = "denoised"  # the median filter's output
_DYNAMIC = {"images": {0: torch.export.Dim("batch")}}


def trace(
    network: nn.Module, description: Description, temperature: float, denoise: Denoise = "none"
) -> torch.export.ExportedProgram:
    """Trace denoising, normalisation, `network`, temperature scaling and softmax.

    The program maps images (batch, H, W, C) uint8 to logits and probabilities, each (batch, K) float32.
    """
    return _trace(_Classifier(network, description, temperature, denoise), description)


def to_onnx(network: nn.Module, description: Description, temperature: float, opset: int) -> onnx.ModelProto:
    """Convert `trace`'s program without denoising to an ONNX graph with the input RESIZED.

    The same weights give the same graph.
    """
    return _to_onnx(trace(network, description, temperature), RESIZED, OUTPUTS, opset)


def onnx_files(
    graphs: Mapping[str, onnx.ModelProto],
    description: Description,
    calibration: Mapping[str, Any],
    preprocess: ImageConfig,
) -> dict[str, bytes]:
    """The `contents` of an ONNX file for each of `graphs`; `calibration` holds temperature and threshold."""
    return {
        name: contents(graph, description, calibration["temperature"], calibration["threshold"], preprocess)
        for name, graph in graphs.items()
    }


def contents(
    model: onnx.ModelProto,
    description: Description,
    temperature: float,
    threshold: float | None,
    preprocess: ImageConfig,
) -> bytes:
    """The contents of an ONNX file for images of any size: resizing, denoising, then `model` (from `to_onnx`).

    The metadata describes the model to a reader who has only this file: strings as they are, other values as JSON.
    The same arguments give the same bytes.
    """
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    resizing = preprocess.resize, preprocess.interpolation, preprocess.crop_fraction
    front, output = onnx.load_from_string(_resizer(description.shape, *resizing, opset)), RESIZED
    if preprocess.denoise == "median":
        median = _to_onnx(_trace(_Median(), description), RESIZED, [DENOISED], opset)
        onnx.compose.add_prefix(median, "denoise.", rename_inputs=False, rename_outputs=False, inplace=True)
        front, output = _chain(front, median, RESIZED), DENOISED
    whole = _chain(front, model, output)
    whole.graph.name = description.name
    whole.producer_name, whole.producer_version = "darkroom", ""
    strings = {name: getattr(description, name) for name in ("dataset", "title", "licence", "data_sha256")}
    values = {
        "classes": description.classes,
        "shape": description.shape,
        "temperature": temperature,
        "threshold": threshold,
    }
    onnx.helper.set_model_props(
        whole, strings | {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    )
    return whole.SerializeToString(deterministic=True)


@lru_cache(maxsize=1)  # all files of a bundle have the same one
def _resizer(*arguments: Any) -> bytes:
    return resizer(*arguments).SerializeToString()


class _Classifier(nn.Module):
    def __init__(self, network: nn.Module, description: Description, temperature: float, denoise: Denoise):
        super().__init__()
        self.network, self.mean, self.std, self.temperature = network, description.mean, description.std, temperature
        self.denoise = _Median() if denoise == "median" else nn.Identity()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(normalise(self.denoise(images), self.mean, self.std))
        return logits, (logits / self.temperature).softmax(1)


class _Median(nn.Module):
    """The 3 x 3 median filter of darkroom.inputs.denoising, on images (batch, H, W, C) uint8."""

    def forward(self, images: Tensor) -> Tensor:
        padded = torch.cat([images[:, :1], images, images[:, -1:]], 1)
        padded = torch.cat([padded[:, :, :1], padded, padded[:, :, -1:]], 2)
        columns = _sort3(padded[:, :-2], padded[:, 1:-1], padded[:, 2:])
        low, mid, high = (_sort3(row[:, :, :-2], row[:, :, 1:-1], row[:, :, 2:]) for row in columns)
        return _sort3(low[2], mid[1], high[0])[1]


def _sort3(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three tensors sorted element by element."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.minimum(low, c), torch.maximum(low, torch.minimum(high, c)), torch.maximum(high, c)


def _trace(module: nn.Module, description: Description) -> torch.export.ExportedProgram:
    images = torch.zeros(2, *description.shape, dtype=torch.uint8)  # a batch of 1 would be traced as a constant
    return torch.export.export(module.eval(), (images,), dynamic_shapes=_DYNAMIC)


def _to_onnx(program: torch.export.ExportedProgram, name: str, outputs: list[str], opset: int) -> onnx.ModelProto:
    """The program as an ONNX graph whose input is called `name`."""
    return convert(program, _DYNAMIC, name, outputs, opset)


def convert(
    program: torch.export.ExportedProgram, dynamic: dict[str, dict], name: str, outputs: list[str], opset: int
) -> onnx.ModelProto:
    """A traced program as an ONNX graph whose input is called `name`, with `dynamic` sizes by the traced name."""
    converted = torch.onnx.export(
        program,
        dynamic_shapes=dynamic,
        input_names=[name],
        output_names=outputs,
        opset_version=opset,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = converted.model_proto
    _clear_origin(model)
    return model


def _chain(front: onnx.ModelProto, model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """`model`, whose input is RESIZED, applied to the `output` of `front`."""
    front.ir_version = model.ir_version
    del front.opset_import[:]  # the same as the model's; merging would list it twice
    whole = onnx.compose.merge_models(front, model, [(output, RESIZED)])
    _clear_origin(whole)
    return whole


def _clear_origin(message: onnx.ModelProto) -> None:
    """Clear metadata and doc strings, such as stack traces with local paths, in an ONNX message and all within it."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type:
            for inner in value if field.is_repeated else [value]:
                _clear_origin(inner)
