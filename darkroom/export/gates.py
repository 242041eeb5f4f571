"""The proofs that an exported classifier is the trained one: each raises DarkroomError where it fails, but the one of 8 bits.

A model in 8 bits that fails is not published, and the report says why.
"""

import io
import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnxruntime import InferenceSession
from PIL import Image

from darkroom.bundle import classifier
from darkroom.bundle.classifier import Manifest
from darkroom.core.errors import DarkroomError
from darkroom.export.config import Int8Config
from darkroom.export.resizing import RESIZED
from darkroom.inputs import image
from darkroom.inputs.denoising import denoise

BATCHES = (1, 3, 64)  # an answer must not depend on its neighbours
_TURNS, _ANSWERS = 15, 40  # of the timing: turns, and answers of each model in a turn
_BLOCK = 2**20  # pixel values that the graph resizes at a time
_VERSIONS = "install the versions that requirements.txt names, and run `dvc repro export`"


def require_parity(
    session: InferenceSession, images: np.ndarray, expected: np.ndarray, tolerance: float
) -> dict[str, float]:
    """Runs the images (N, H, W, C) uint8 in batches of 1, 3 and 64; see `compare`, whose numbers it returns, of the worst of them."""
    found = [compare(expected, *classifier.answers(session, images, size), tolerance) for size in BATCHES]
    return max(found, key=lambda numbers: numbers["max_abs_difference"])


def compare(expected: np.ndarray, logits: np.ndarray, probabilities: np.ndarray, tolerance: float) -> dict[str, float]:
    """Compares the exported model's `logits` and `probabilities` with the trained network's `expected` logits, each (N, K) float32.

    Returns the largest difference of a logit, the number of samples whose label differs, and the number of samples. Raises
    DarkroomError where a number is not finite, a label differs, or a logit differs by more than `tolerance`.
    """
    for whose, numbers, remedy in (
        ("trained", expected, "train it again, with a lower train.lr or with train.precision = fp32"),
        ("exported", np.hstack([logits, probabilities]), "try another export.opset"),
    ):
        broken = int((~np.isfinite(numbers)).any(axis=1).sum())
        if broken:
            raise DarkroomError(
                f"The {whose} model's answer to {broken} of {len(numbers)} test pictures is infinite or not a number: {remedy}."
            )
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


def require_accuracy(right: np.ndarray, evaluated: float) -> None:
    """Raises DarkroomError where the share of right answers (N,) bool is not exactly the accuracy that evaluate measured."""
    if float(right.mean()) != evaluated:
        raise DarkroomError(
            f"The exported model is right on {right.mean():.6g} of the test pictures, but metrics/evaluate.json says {evaluated:.6g}: "
            "run `dvc repro --force evaluate`; where a GPU rounds otherwise, train and evaluate with train.device = cpu."
        )


def require_preprocessing(manifest: Manifest, model: bytes, images: np.ndarray) -> dict[str, int]:
    """Holds what is done to a picture before an answer to what was done before the training, by images (N, H, W, C) uint8 of the test set.

    `classifier.picture` must find in a PNG file of each what preprocess would: its own pixels, without noise where manifest.denoise says
    so. The ONNX file `model` must bring each from another size to its own as `image.fit` does, to one grey level. Returns the largest
    difference of the latter. Raises DarkroomError otherwise.
    """
    changed = sum(
        (classifier.picture(manifest, _png(image)) != denoise(image[None], manifest.denoise)[0]).any()
        for image in images
    )
    if changed:
        raise DarkroomError(
            f"{changed} of {len(images)} test pictures have other pixels once they were written as PNG and read: {_VERSIONS}."
        )
    difference = _resize_difference(manifest, model, images)
    if difference > 1:
        raise DarkroomError(
            f"The exported model brings test pictures of other sizes to its own {difference} grey levels off: {_VERSIONS}."
        )
    return {"resize_max_difference": difference}


def _resize_difference(manifest: Manifest, model: bytes, images: np.ndarray) -> int:
    """By how many grey levels at most the resize in the graph differs from Pillow's, a size a picture in turn, thin ones among them."""
    graph = onnx.load_from_string(model)
    graph.graph.output.append(onnx.helper.make_tensor_value_info(RESIZED, onnx.TensorProto.UINT8, None))
    session = classifier.open_session(graph.SerializeToString(), threads=1)
    height, width, channels = manifest.shape
    sizes = (
        (2 * height + 1, 3 * width),
        (3 * height, width),
        (height, width + 1),
        (1, 2 * width),
        (5 * height, 2),
        (height // 2 + 1, width // 3 + 1),
    )
    worst = 0
    for turn, size in enumerate(sizes):
        block = len(sizes) * max(1, min(max(BATCHES), _BLOCK // (size[0] * size[1] * channels)))  # the network runs too
        for start in range(turn, len(images), block):
            others = [
                _picture(image).resize(size[::-1], Image.Resampling.BICUBIC)
                for image in images[start : start + block : len(sizes)]
            ]
            expected = np.stack([image.pixels(other, (height, width), channels, manifest.resize) for other in others])
            (found,) = session.run(
                [RESIZED],
                {classifier.INPUT: np.stack([np.asarray(other).reshape(*size, channels) for other in others])},
            )
            worst = max(worst, int(np.abs(found.astype(int) - expected).max()))
    return worst


def _png(image: np.ndarray) -> bytes:
    contents = io.BytesIO()
    _picture(image).save(contents, "PNG")
    return contents.getvalue()


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def judge(
    models: Mapping[str, bytes], images: np.ndarray, labels: np.ndarray, limits: Int8Config, threads: int
) -> tuple[dict[str, Any], float]:
    """Whether the ONNX file `int8` is worth publishing beside `fp32`, by test pictures (N, H, W, C) uint8 and their labels (N,) int64.

    Returns the numbers, `published` and the `reason` why not (None where it is), and how many times as fast it is, which varies: near
    limits.min_speedup two runs may judge differently.
    """
    before, after = (
        classifier.answers(classifier.open_session(model, threads), images)[0].argmax(1)
        for model in (models["fp32"], models["int8"])
    )
    accuracy, agreement = float((after == labels).mean()), float((after == before).mean())
    lost = float((before == labels).mean()) - accuracy
    speedup = _speedup(
        *(classifier.open_session(model, threads=1) for model in (models["fp32"], models["int8"])),
        np.ascontiguousarray(images[:1]),
    )
    reasons = {
        f"it loses {lost:.4f} of accuracy, more than {limits.max_accuracy_drop:g}": lost > limits.max_accuracy_drop,
        f"its labels agree on {agreement:.4f}, less than {limits.min_agreement:g}": agreement < limits.min_agreement,
        f"it is not {limits.min_speedup:g} times as fast": speedup < limits.min_speedup,
    }
    reason = "; ".join(text for text, failed in reasons.items() if failed) or None
    return {
        "int8_published": reason is None,
        "int8_accuracy": accuracy,
        "int8_agreement": agreement,
        "int8_reason": reason,
    }, speedup


def sentence(judged: Mapping[str, Any], speedup: float) -> str:
    """One line about the result of `judge`, for the terminal."""
    verdict = "published" if judged["int8_published"] else f"not published: {judged['int8_reason']}"
    return f"int8: {judged['int8_accuracy']:.2%} accuracy, {speedup:.1f} times as fast; {verdict}"


def _speedup(slow: InferenceSession, fast: InferenceSession, image: np.ndarray) -> float:
    """How many times as fast `fast` answers one picture (1, H, W, C) as `slow`, each on one thread: the median over turns.

    By the time that the thread computes, which other processes disturb least.
    """
    ratios = []
    for _ in range(_TURNS):
        seconds = []
        for session in (slow, fast):
            started = time.thread_time()
            for _ in range(_ANSWERS):
                session.run(classifier.OUTPUTS, {classifier.INPUT: image})
            seconds.append(time.thread_time() - started)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios)
