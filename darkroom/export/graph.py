"""The trained network as one portable ONNX file."""

import json

import onnx
import onnx.compose
import torch
from torch import Tensor, nn

from darkroom.bundle.classifier import OUTPUTS
from darkroom.export.resizing import RESIZED, Resize, resizer
from darkroom.models.checkpoints import Description
from darkroom.models.normalisation import normalise

_SHAPES = {"images": {0: torch.export.Dim("batch")}}


def traced(network: nn.Module, description: Description, temperature: float) -> torch.export.ExportedProgram:
    """Pictures (batch, H, W, C) uint8 -> logits and probabilities, each (batch, K) float32: normalisation, `network`, temperature, softmax."""
    classifier = _Classifier(network, description, temperature).eval()
    images = torch.zeros(
        2, *description.shape, dtype=torch.uint8
    )  # two, because a batch of one would be taken for a constant
    return torch.export.export(classifier, (images,), dynamic_shapes=_SHAPES)


def to_onnx(network: nn.Module, description: Description, temperature: float, opset: int) -> onnx.ModelProto:
    """What `traced` gives as an ONNX graph; its pictures are called `resized`.

    The same weights give the same graph: all that tells where and when it was traced (stack traces with local paths among it) is
    taken out.
    """
    program = torch.onnx.export(
        traced(network, description, temperature),
        dynamic_shapes=_SHAPES,
        input_names=[RESIZED],
        output_names=OUTPUTS,
        opset_version=opset,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = program.model_proto
    _forget_origin(model)
    return model


def contents(
    model: onnx.ModelProto, description: Description, temperature: float, threshold: float | None, resize: Resize
) -> bytes:
    """The contents of an ONNX file: `model`, of `to_onnx` or made of such a one, with the resize of pictures of any size in front.

    Its metadata tells someone who has nothing but this file what it is: texts as they are, all else as JSON. The same arguments give
    the same bytes.
    """
    version = next(entry.version for entry in model.opset_import if not entry.domain)
    front = resizer(description.shape, resize, version)
    front.ir_version = model.ir_version
    del front.opset_import[:]  # the same as the model's, which would stand there twice
    whole = onnx.compose.merge_models(front, model, [(RESIZED, RESIZED)])
    _forget_origin(whole)
    whole.graph.name = description.name
    whole.producer_name, whole.producer_version = "darkroom", ""
    texts = {name: getattr(description, name) for name in ("dataset", "title", "licence", "data_sha256")}
    values = {
        "classes": description.classes,
        "shape": description.shape,
        "temperature": temperature,
        "threshold": threshold,
    }
    onnx.helper.set_model_props(
        whole, texts | {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    )
    return whole.SerializeToString(deterministic=True)


class _Classifier(nn.Module):
    def __init__(self, network: nn.Module, description: Description, temperature: float):
        super().__init__()
        self.network, self.mean, self.std, self.temperature = network, description.mean, description.std, temperature

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(normalise(images, self.mean, self.std))
        return logits, (logits / self.temperature).softmax(1)


def _forget_origin(message: onnx.ModelProto) -> None:
    """Clears the metadata and the doc strings of an ONNX message and of every message in it."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type:
            for inner in value if field.is_repeated else [value]:
                _forget_origin(inner)
