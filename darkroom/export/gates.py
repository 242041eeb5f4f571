"""The checks that an exported classifier equals the trained one; each raises DarkroomError if it fails.

The exception is int8: a model that fails its checks is not published, and the metrics say why.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnxruntime import InferenceSession
from PIL import Image

from darkroom.bundle import classifier
from darkroom.bundle.classifier import Manifest
from darkroom.core.cropping import centre
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.export import dynamic
from darkroom.export.config import Int8Config
from darkroom.export.graph import DENOISED
from darkroom.export.resizing import RESIZED
from darkroom.inputs import resizing
from darkroom.inputs.denoising import denoise
from darkroom.models.logits import release

BATCHES = (1, 3, 64)  # a prediction must not depend on the other images in its batch
_MAX_IMAGES, _MAX_PIXELS = 1000, 2**22  # of the checks that need not see every image
_RUNS = 40  # of each model in a round of the timing
_TIMED_PIXELS = 2**18  # of these runs, which are fewer with a large image
_BLOCK = 2**20  # pixel values that are preprocessed at a time
_VERSIONS = "install the versions in requirements.txt, then run `dvc repro export`"


def require_parity(
    session: InferenceSession, images: np.ndarray, expected: np.ndarray, tolerance: float
) -> dict[str, float]:
    """Run `compare` on images (N, H, W, C) uint8, and return the numbers of the worst batch size.

    All images are classified in batches of 64, or fewer if they are large, and those of `spread` in batches of 1 and 3.
    """
    few = spread(images)
    tested = [(images, expected, BATCHES[-1]), *((images[few], expected[few], size) for size in BATCHES[:-1])]
    found = []
    for given, wanted, size in tested:
        differences = []
        for rows, outputs in classifier.batches(session, given, size):
            differences.append(_differences(wanted[rows], *outputs))
            release(wanted)
        found.append(_judged(*map(np.concatenate, zip(*differences, strict=True)), tolerance))
    return max(found, key=lambda numbers: numbers["max_abs_difference"]) | {"samples": len(images)}


def spread(images: np.ndarray) -> np.ndarray:
    """Increasing indices (n,) int64, evenly spaced, of _MAX_IMAGES images (N, H, W, C), or fewer if they are large.

    Images of one class often follow each other, so the first ones would not do.
    """
    count = min(len(images), _MAX_IMAGES, max(1, _MAX_PIXELS // math.prod(images.shape[1:3])))
    return np.linspace(0, len(images) - 1, count).round().astype(np.int64)


def compare(
    expected: np.ndarray, logits: np.ndarray, probabilities: np.ndarray, tolerance: float, tie: float = 0.0
) -> dict[str, float]:
    """Compare the exported model's `logits` and `probabilities` with the trained model's `expected` logits.

    Each is (N, K) float32. Returns the maximum difference of a logit, the number of labels that differ, and N. Raises
    DarkroomError if a number is not finite, if a label differs whose expected logit is more than `tie` below that of
    the expected label, or if a logit differs by more than `tolerance`.
    """
    return _judged(*_differences(expected, logits, probabilities), tolerance, tie)


def _differences(expected: np.ndarray, logits: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, ...]:
    """What `compare` needs of each example, in the order of the arguments of `_judged`."""
    finite = (np.isfinite(numbers).all(1) for numbers in (expected, np.hstack([logits, probabilities])))
    labels = probabilities.argmax(1)
    with np.errstate(invalid="ignore"):  # where a number is not finite
        difference, margin = (
            np.abs(logits - expected).max(1),
            expected.max(1) - expected[np.arange(len(labels)), labels],
        )
    return *finite, difference, labels != expected.argmax(1), margin


def _judged(
    expected_finite: np.ndarray,
    exported_finite: np.ndarray,
    differences: np.ndarray,
    differs: np.ndarray,
    margins: np.ndarray,
    tolerance: float,
    tie: float = 0.0,
) -> dict[str, float]:
    """As `compare`, from numbers (N,) of each example.

    They say whether the expected and the exported numbers are finite, how much a logit differs at most, whether the
    label differs, and how far its expected logit is below the largest.
    """
    tested = counted(len(differs), "test example")
    for model, finite, remedy in (
        ("trained", expected_finite, "train it again with a lower train.lr or with train.precision = fp32"),
        ("exported", exported_finite, "try another export.opset"),
    ):
        if not finite.all():
            broken = int((~finite).sum())
            raise DarkroomError(f"The {model} model's output for {broken} of {tested} is infinite or NaN: {remedy}.")
    difference, disagreements, margin = float(differences.max()), int(differs.sum()), float(margins.max())
    if (disagreements and margin >= tie) or difference > tolerance:
        message = (
            f"The exported model differs from the trained model: {disagreements} of {tested} got another label, and "
            f"logits differ by up to {difference:.3g} (export.tolerance = {tolerance:g}). "
            "Try another export.opset. If only logits differ, you can raise export.tolerance."
        )
        if disagreements:
            message += (
                f" The trained model's own logits of these labels differ by at most {margin:.2g}: if that is rounding "
                "(about 1e-5), another seed helps."
            )
        raise DarkroomError(message)
    return {"max_abs_difference": difference, "label_disagreements": disagreements, "samples": len(differs)}


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

    `classifier.decode_image` must read the same pixels from a PNG file, as the centre of an image if the network sees
    only that. The ONNX file `model` must denoise images of its own size exactly as `denoise` does. For images of other
    sizes it must equal `resizing.fit` and `denoise` within one grey level. Returns the maximum difference of the last.
    Only the images of `spread` are used. Raises DarkroomError if a check fails.
    """
    images = images[spread(images)]
    changed = sum(
        (classifier.decode_image(manifest, _png(_framed(pixels, manifest))) != pixels).any() for pixels in images
    )
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
        self._session = classifier.open_session(_front(model, self._output), threads=1)

    def difference(self, images: np.ndarray, size: tuple[int, int]) -> int:
        """The maximum difference in grey levels for images (N, H, W, C) uint8 that are first scaled to `size`."""
        height, width, channels = self._manifest.shape
        block = max(1, min(max(BATCHES), _BLOCK // (size[0] * size[1] * channels)))
        worst = 0
        for start in range(0, len(images), block):
            scaled = [
                _as_pil(pixels).resize(size[::-1], Image.Resampling.BICUBIC) for pixels in images[start : start + block]
            ]
            given = np.stack([np.asarray(one).reshape(*size, channels) for one in scaled])
            (found,) = self._session.run([self._output], {classifier.INPUT: given})
            fitted = given if size == (height, width) else self._fitted(scaled)
            expected = denoise(fitted, self._manifest.denoise)
            worst = max(worst, int(np.abs(found.astype(int) - expected).max()))
        return worst

    def _fitted(self, images: Sequence[Image.Image]) -> np.ndarray:
        """The images (n, H, W, C) uint8 as before training, but not denoised."""
        *size, channels = self._manifest.shape
        options = channels, self._manifest.resize, self._manifest.interpolation
        whole = resizing.uncropped(size, self._manifest.crop_fraction)
        return centre(np.stack([resizing.pixels(one, whole, *options) for one in images]), size)


def _front(model: bytes, output: str) -> bytes:
    """The ONNX file `model` up to the node that makes its value `output` (uint8), without the network behind it."""
    whole = onnx.load_from_string(model)
    end = next(number for number, node in enumerate(whole.graph.node) if output in node.output)
    del whole.graph.node[end + 1 :]
    used = set(_read(whole.graph))
    kept = [entry for entry in whole.graph.initializer if entry.name in used]
    for field, entries in (
        ("initializer", kept),
        ("output", [onnx.helper.make_tensor_value_info(output, onnx.TensorProto.UINT8, None)]),
    ):
        whole.graph.ClearField(field)
        getattr(whole.graph, field).extend(entries)
    return whole.SerializeToString()


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    """The names of the values that the nodes of a graph read, branches included."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            yield from _read(attribute.g)


def _framed(pixels: np.ndarray, manifest: Manifest) -> np.ndarray:
    """An image (H', W', C) uint8 whose centre, which the network sees, is `pixels` (H, W, C)."""
    height, width, channels = pixels.shape
    whole = np.zeros((1, *resizing.uncropped((height, width), manifest.crop_fraction), channels), np.uint8)
    centre(whole, (height, width))[:] = pixels
    return whole[0]


def _png(pixels: np.ndarray) -> bytes:
    contents = io.BytesIO()
    _as_pil(pixels).save(contents, "PNG")
    return contents.getvalue()


def _as_pil(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def classify_int8(
    session: InferenceSession, images: np.ndarray, fp32: np.ndarray, limits: Int8Config
) -> tuple[np.ndarray, np.ndarray]:
    """The classes that int8 predicts for images (N, H, W, C) uint8; `fp32` (N,) are those of the fp32 model.

    Returns the indices (n,) of the images and their classes (n,). They are all images, unless those of `spread` already
    differ in so many classes that the others cannot save the agreement.
    """
    few = spread(images)
    found = _classes(session, images[few])
    differing = int((found != fp32[few]).sum())
    if len(few) == len(images) or 1 - differing / len(images) < limits.min_agreement:
        return few, found
    return np.arange(len(images)), _classes(session, images)


def _classes(session: InferenceSession, images: np.ndarray) -> np.ndarray:
    """The most probable class (N,) int64 of images (N, H, W, C) uint8."""
    return np.concatenate([probabilities.argmax(1) for _, (_, probabilities) in classifier.batches(session, images)])


def judge_int8(
    int8: np.ndarray, fp32: np.ndarray, labels: np.ndarray, speedup: float, limits: Int8Config
) -> dict[str, Any]:
    """Decide whether to publish the int8 model.

    `int8` and `fp32` are the classes that the models predict, `labels` the true ones, each (n,) int64; `speedup` is how
    many times as fast int8 is. Returns the accuracy and agreement of int8, on how many images, whether it is published,
    and the reason if not.
    """
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
        "int8_samples": len(int8),
        "int8_reason": reason,
    }


def summary(judged: Mapping[str, Any], speedup: float) -> str:
    """One line about the result of `judge_int8`, for the terminal."""
    verdict = "published" if judged["int8_published"] else f"not published: {judged['int8_reason']}"
    return f"int8: accuracy {judged['int8_accuracy']:.2%}, {speedup:.1f} times as fast; {verdict}"


def measure_speedup(models: Mapping[str, bytes], image: np.ndarray) -> float:
    """See `dynamic.speedup`; on one image (1, H, W, C)."""
    runs = min(_RUNS, max(1, _TIMED_PIXELS // math.prod(image.shape[1:3])))
    return dynamic.speedup(models, {classifier.INPUT: np.ascontiguousarray(image)}, runs)
