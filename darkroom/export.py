"""The trained network as one portable ONNX graph, and the proof that it answers as the network does."""

import json

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from darkroom import bundle
from darkroom.checkpoints import Description
from darkroom.errors import DarkroomError
from darkroom.transforms import normalise


def to_onnx(network: nn.Module, description: Description, temperature: float, threshold: float | None, opset: int) -> bytes:
    """The contents of an ONNX file that holds normalisation, `network`, `temperature` and softmax; darkroom.bundle says how it is called.

    Carries the threshold, the labels and what else `description` knows of the data. The same weights give the same bytes: everything that
    tells where and when the graph was traced (stack traces with local paths among it) is taken out.
    """
    graph = _Classifier(network, description, temperature).eval()
    images = torch.zeros(2, *description.shape, dtype=torch.uint8)  # two, because a batch of one would be taken for a constant
    program = torch.onnx.export(
        graph,
        (images,),
        input_names=["images"],
        output_names=["logits", "probabilities"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        opset_version=opset,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = program.model_proto
    _forget_origin(model)
    model.graph.name = description.name
    texts = {name: getattr(description, name) for name in bundle.TEXTS}
    lists = {name: getattr(description, name) for name in bundle.LISTS}
    numbers = dict(zip(bundle.NUMBERS, (temperature, threshold), strict=True))
    onnx.helper.set_model_props(model, texts | {name: json.dumps(value, ensure_ascii=False) for name, value in (lists | numbers).items()})
    return model.SerializeToString(deterministic=True)


def check_parity(expected: np.ndarray, logits: np.ndarray, probabilities: np.ndarray, tolerance: float) -> dict[str, float]:
    """Compares the bundle's `logits` and `probabilities` with the trained network's `expected` logits, each (N, K) float32.

    Returns the largest difference of a logit, the number of samples whose label differs, and the number of samples. Raises
    DarkroomError where a number is not finite, a label differs, or a logit differs by more than `tolerance`.
    """
    for whose, numbers, remedy in (
        ("trained", expected, "train it again, with a lower train.lr or with train.precision = fp32"),
        ("exported", np.hstack([logits, probabilities]), "try another export.opset"),
    ):
        broken = int((~np.isfinite(numbers)).any(axis=1).sum())
        if broken:
            raise DarkroomError(f"The {whose} model's answer to {broken} of {len(numbers)} test pictures is infinite or not a number: {remedy}.")
    difference = float(np.abs(logits - expected).max())
    labels = probabilities.argmax(axis=1)
    disagreements = int((labels != expected.argmax(axis=1)).sum())
    if disagreements or difference > tolerance:
        message = (
            f"The exported model is not the trained one: it labels {disagreements} of {len(expected)} test pictures otherwise, and its logits differ by up to "
            f"{difference:.3g} (export.tolerance = {tolerance:g}): try another export.opset, or raise export.tolerance if only logits differ."
        )
        if disagreements:
            margin = (expected.max(axis=1) - expected[np.arange(len(expected)), labels]).max()
            message += f" The trained model's own logits of these labels lie {margin:.2g} or less apart: within rounding (1e-5) another seed helps."
        raise DarkroomError(message)
    return {"max_abs_difference": difference, "label_disagreements": disagreements, "samples": len(expected)}


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
