"""The checks that an exported classifier equals the trained one; each raises DarkroomError if it fails.

The exception is int8: a model that fails its checks is not published, and the metrics say why.
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
from darkroom.core.spelling import counted
from darkroom.export.config import Int8Config
from darkroom.export.graph import DENOISED
from darkroom.export.resizing import RESIZED
from darkroom.inputs import image
from darkroom.inputs.denoising import denoise

BATCHES = (1, 3, 64)  # a prediction must not depend on the other images in its batch
_ROUNDS, _RUNS = 15, 40  # of the timing: rounds, and runs of each model per round
_BLOCK = 2**20  # pixel values that are preprocessed at a time
_VERSIONS = "install the versions in requirements.txt, then run `dvc repro export`"


def require_parity(
    session: InferenceSession, images: np.ndarray, expected: np.ndarray, tolerance: float
) -> dict[str, float]:
    """Run `compare` on images (N, H, W, C) uint8 in batches of 1, 3 and 64, and return the numbers of the worst."""
    found = [compare(expected, *classifier.answers(session, images, size), tolerance) for size in BATCHES]
    return max(found, key=lambda numbers: numbers["max_abs_difference"])


def compare(expected: np.ndarray, logits: np.ndarray, probabilities: np.ndarray, tolerance: float) -> dict[str, float]:
    """Compare the exported model's `logits` and `probabilities` with the trained model's `expected` logits.

    Each is (N, K) float32. Returns the maximum difference of a logit, the number of labels that differ, and N. Raises
    DarkroomError if a number is not finite, a label differs, or a logit differs by more than `tolerance`.
    """
    for model, numbers, remedy in (
        ("trained", expected, "train it again with a lower train.lr or with train.precision = fp32"),
        ("exported", np.hstack([logits, probabilities]), "try another export.opset"),
    ):
        broken = int((~np.isfinite(numbers)).any(axis=1).sum())
        if broken:
            raise DarkroomError(
                f"The {model} model's output for {broken} of {counted(len(numbers), 'test image')} is infinite or NaN: "
                f"{remedy}."
            )
    difference = float(np.abs(logits - expected).max())
    labels = probabilities.argmax(axis=1)
    disagreements = int((labels != expected.argmax(axis=1)).sum())
    if disagreements or difference > tolerance:
        message = (
            f"The exported model differs from the trained model: {disagreements} of "
            f"{counted(len(expected), 'test image')} got another label, and logits differ by up to {difference:.3g} "
            f"(export.tolerance = {tolerance:g}). "
            "Try another export.opset. If only logits differ, you can raise export.tolerance."
        )
        if disagreements:
            margin = (expected.max(axis=1) - expected[np.arange(len(expected)), labels]).max()
            message += (
                f" The trained model's own logits of these labels differ by at most {margin:.2g}: if that is rounding "
                "(about 1e-5), another seed helps."
            )
        raise DarkroomError(message)
    return {"max_abs_difference": difference, "label_disagreements": disagreements, "samples": len(expected)}


def require_accuracy(correct: np.ndarray, evaluated: float) -> None:
    """Raise DarkroomError unless the fraction of correct predictions (N,) bool equals the accuracy from evaluate."""
    if float(correct.mean()) != evaluated:
        raise DarkroomError(
            f"The exported model has an accuracy of {correct.mean():.6g} on the test set, but metrics/evaluate.json "
            f"says {evaluated:.6g}: run `dvc repro --force evaluate`. If a GPU rounds differently, train and evaluate "
            "with train.device = cpu."
        )


def require_preprocessing(manifest: Manifest, model: bytes, images: np.ndarray) -> dict[str, int]:
    """Check with test images (N, H, W, C) uint8 that the exported model preprocesses them as before training.

    `classifier.decode_image` must read the same pixels from a PNG file. The ONNX file `model` must denoise images of
    its own size exactly as `denoise` does. For images of other sizes it must equal `image.fit` and `denoise` within one
    grey level. Returns the maximum difference of the last. Raises DarkroomError if a check fails.
    """
    changed = sum((classifier.decode_image(manifest, _png(pixels)) != pixels).any() for pixels in images)
    if changed:
        raise DarkroomError(
            f"{changed} of {counted(len(images), 'test image')} change when written as PNG and read: {_VERSIONS}."
        )
    preprocessing = _Preprocessing(manifest, model)
    height, width, _ = manifest.shape
    difference = preprocessing.difference(images, (height, width))
    if difference:
        raise DarkroomError(
            f"The exported model's denoising of test images is off by up to {difference} grey levels "
            f"(preprocess.denoise = {manifest.denoise}): {_VERSIONS}."
        )
    sizes = (
        (2 * height + 1, 3 * width),
        (3 * height, width),
        (height, width + 1),
        (1, 2 * width),
        (5 * height, 2),
        (height // 2 + 1, width // 3 + 1),
    )
    difference = max(preprocessing.difference(images[first :: len(sizes)], size) for first, size in enumerate(sizes))
    if difference > 1:
        raise DarkroomError(
            f"The exported model's resizing of test images is off by up to {difference} grey levels: {_VERSIONS}."
        )
    return {"resize_max_difference": difference}


class _Preprocessing:
    """The preprocessing of an ONNX file, compared with that before training."""

    def __init__(self, manifest: Manifest, model: bytes):
        self._manifest = manifest
        self._output = DENOISED if manifest.denoise == "median" else RESIZED
        graph = onnx.load_from_string(model)
        graph.graph.output.append(onnx.helper.make_tensor_value_info(self._output, onnx.TensorProto.UINT8, None))
        self._session = classifier.open_session(graph.SerializeToString(), threads=1)

    def difference(self, images: np.ndarray, size: tuple[int, int]) -> int:
        """The maximum difference in grey levels for images (N, H, W, C) uint8 that are first scaled to `size`."""
        height, width, channels = self._manifest.shape
        block = max(1, min(max(BATCHES), _BLOCK // (size[0] * size[1] * channels)))  # the network runs too
        worst = 0
        for start in range(0, len(images), block):
            scaled = [
                _as_pil(pixels).resize(size[::-1], Image.Resampling.BICUBIC) for pixels in images[start : start + block]
            ]
            fitted = [image.pixels(one, (height, width), channels, self._manifest.resize) for one in scaled]
            given = np.stack([np.asarray(one).reshape(*size, channels) for one in scaled])
            (found,) = self._session.run([self._output], {classifier.INPUT: given})
            expected = denoise(np.stack(fitted), self._manifest.denoise)
            worst = max(worst, int(np.abs(found.astype(int) - expected).max()))
        return worst


def _png(pixels: np.ndarray) -> bytes:
    contents = io.BytesIO()
    _as_pil(pixels).save(contents, "PNG")
    return contents.getvalue()


def _as_pil(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def judge_int8(
    predicted: Mapping[str, np.ndarray], labels: np.ndarray, speedup: float, limits: Int8Config
) -> dict[str, Any]:
    """Decide whether to publish the int8 model.

    `predicted` holds the classes that `fp32` and `int8` predict, `labels` the true ones, each (N,) int64; `speedup` is
    how many times as fast int8 is. Returns its accuracy and agreement, whether it is published, and the reason if not.
    """
    fp32, int8 = predicted["fp32"], predicted["int8"]
    accuracy, agreement = float((int8 == labels).mean()), float((int8 == fp32).mean())
    drop = float((fp32 == labels).mean()) - accuracy
    reasons = {
        f"accuracy drops by {drop:.4f}, more than {limits.max_accuracy_drop:g}": drop > limits.max_accuracy_drop,
        f"agreement is {agreement:.4f}, less than {limits.min_agreement:g}": agreement < limits.min_agreement,
        f"speedup is {speedup:.2f}, less than {limits.min_speedup:g}": speedup < limits.min_speedup,
    }
    reason = "; ".join(text for text, failed in reasons.items() if failed) or None
    return {
        "int8_published": reason is None,
        "int8_accuracy": accuracy,
        "int8_agreement": agreement,
        "int8_reason": reason,
    }


def summary(judged: Mapping[str, Any], speedup: float) -> str:
    """One line about the result of `judge_int8`, for the terminal."""
    verdict = "published" if judged["int8_published"] else f"not published: {judged['int8_reason']}"
    return f"int8: accuracy {judged['int8_accuracy']:.2%}, {speedup:.1f} times as fast; {verdict}"


def measure_speedup(models: Mapping[str, bytes], image: np.ndarray) -> float:
    """How many times as fast the ONNX file `int8` is as `fp32` on one image (1, H, W, C), both with one thread.

    The median of several rounds, in CPU time of the thread, which depends least on other processes.
    """
    sessions = [classifier.open_session(models[variant], threads=1) for variant in ("fp32", "int8")]
    feeds = {classifier.INPUT: np.ascontiguousarray(image)}
    ratios = []
    for _ in range(_ROUNDS):
        seconds = []
        for session in sessions:
            started = time.thread_time()
            for _ in range(_RUNS):
                session.run(classifier.OUTPUTS, feeds)
            seconds.append(time.thread_time() - started)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios)
