"""Read and run the exported classifier: a folder that needs neither PyTorch nor the project that it was trained in.

model.onnx        images (batch, height, width, C) uint8, 0..255, of any height and width -> resized and cropped to
                  H x W, unless they have this size, denoised, normalised, network -> logits (batch, K) float32;
                  temperature scaling, softmax -> probabilities (batch, K) float32
model.int8.onnx   the same with an int8 network, if it passed its checks (darkroom/export/gates.py)
golden.npz        images (n, H, W, C) uint8, and each model's logits and probabilities (n, K) float32 at export
manifest.json     the fields of `Manifest`
README.md         the model card
"""

import hashlib
import json
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal
from zipfile import BadZipFile

import numpy as np
from onnxruntime import InferenceSession, RunOptions, SessionOptions
from pydantic import Field, FiniteFloat, PositiveInt, TypeAdapter, ValidationError
from tqdm import tqdm

from darkroom.bundle.drift import require_reference
from darkroom.core.cropping import centre
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.inputs.image import decode
from darkroom.inputs.resizing import Interpolation, Resize, uncropped

FORMAT = 4  # of the folder, which must match; since 4, the manifest says how images are interpolated and cropped
VARIANTS = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
INPUT, OUTPUTS = "images", ["logits", "probabilities"]
GOLDEN, MANIFEST, CARD = "golden.npz", "manifest.json", "README.md"
# Other CPUs round differently. One that sums int8 products in 16 bits overflows; its error is larger and is refused.
GOLDEN_TOLERANCE = {"fp32": 1e-3, "int8": 0.5}
_MAX_PIXELS = 2**19  # of a batch of `answers`, whose feature maps would fill the memory if the images are large
_LARGE = 2**20  # pixel values; memory for resizing more than these is not kept
Value = Annotated[int, Field(ge=0, le=2**16 - 1)]  # of a pixel with 16 bits
Probability = Annotated[float, Field(ge=0, le=1)]
SetKind = Literal["marginal", "class_conditional"]  # of prediction sets
_REMEDY = "run `dvc repro --force export` to write the bundle again"


@dataclass(frozen=True)
class Conformal:
    """Thresholds of the probability from which a class is in a prediction set, fitted on the validation set.

    darkroom/evaluate/conformal.py says what the sets guarantee.
    """

    coverage: Annotated[float, Field(gt=0, lt=1)]  # fraction of images whose set contains the right class
    marginal: Probability  # for every class: the coverage holds on average over the classes
    class_conditional: tuple[Probability, ...]  # by class: the coverage holds in every class

    def prediction_set(self, probabilities: np.ndarray, kind: SetKind) -> np.ndarray:
        """The classes in the set for probabilities (K,), as indices (n,) int64, most probable first; never empty."""
        order = np.argsort(-probabilities, kind="stable")
        inside = probabilities >= np.asarray(getattr(self, kind))
        inside[order[0]] = True
        return order[inside[order]]


@dataclass(frozen=True)
class Pretrained:
    """Weights that a network was fine-tuned from."""

    title: str
    licence: str
    sha256: str  # of their file


@dataclass(frozen=True)
class Teacher:
    """Trained networks from whose answers a network learned."""

    name: str
    networks: tuple[str, ...]  # family and architecture of each
    parameters: int
    accuracy: Annotated[float, Field(ge=0, le=1)]  # on the same test set
    sha256: tuple[str, ...]  # of the weights of each
    pretrained: tuple[Pretrained, ...]  # the weights that some of them were fine-tuned from


@dataclass(frozen=True)
class Manifest:
    """What the model's outputs mean, and what it was made from."""

    format: int
    model: str  # family of the network
    dataset: str
    title: str
    licence: str
    data_sha256: str  # of the arrays that it was trained on
    classes: tuple[str, ...]  # names of the columns of logits and probabilities
    shape: tuple[PositiveInt, PositiveInt, Literal[1, 3]]  # height, width, channels
    resize: Resize  # how the model resizes images of other sizes
    interpolation: Interpolation
    crop_fraction: Annotated[float, Field(ge=0.5, le=1)]  # sides of the centre, which is what the network sees of that
    denoise: Literal["none", "median"]  # what the model then applies to every image
    max_pixels: PositiveInt  # larger image files are not decoded
    opset: PositiveInt  # of ONNX
    temperature: Annotated[FiniteFloat, Field(gt=0)]  # fitted on the validation set
    threshold: Probability | None  # of the confidence, see `withholds`; None: none could be shown, so withhold all
    target_accuracy: Annotated[float, Field(gt=0, le=1)]  # of the predictions that reach the threshold
    target_confidence: Annotated[float, Field(gt=0, lt=1)]  # with which the validation set shows this
    validation_examples: PositiveInt
    conformal: Conformal
    metrics: Mapping[str, int | FiniteFloat]  # of the test set
    reference: Mapping[str, int | Mapping[str, tuple[FiniteFloat, ...]]]  # from darkroom.bundle.drift.reference
    files: Mapping[str, str]  # SHA-256 by name
    intensity_range: tuple[Value, Value] | None  # of images of more than 8 bits; None: all 16 bits
    pretrained: Pretrained | None  # the weights that the network was fine-tuned from; None: random ones
    teacher: Teacher | None  # from which the network learned; None: from the labels alone

    def withholds(self, confidence: float) -> bool:
        """Whether a prediction with this confidence (its largest probability) should be withheld."""
        return self.threshold is None or confidence < self.threshold

    def why_no_threshold(self) -> str:
        """One sentence for a bundle whose `threshold` is None."""
        return (
            f"No threshold could be shown: {counted(self.validation_examples, 'validation example')} "
            f"{'does' if self.validation_examples == 1 else 'do'} not prove for any confidence that "
            f"{100 * self.target_accuracy:.4g} % of the answers are correct (at {100 * self.target_confidence:.4g} % "
            "confidence)."
        )


@dataclass(frozen=True)
class Bundle:
    """A classifier ready to run, and what its outputs mean."""

    session: InferenceSession
    manifest: Manifest
    variant: str  # of VARIANTS
    version: str  # the first 12 hex digits of the manifest's SHA-256
    sha256: str  # of the ONNX file that runs


def read(folder: str | Path, threads: int, variant: str = "fp32") -> Bundle:
    """Open the bundle in `folder`, to run on `threads` CPU threads.

    Raises DarkroomError if a file is missing, altered or incomplete, or if it is not a bundle of this format.
    """
    folder = Path(folder)
    described = _contents(folder / MANIFEST)
    manifest = _parsed(described, folder / MANIFEST)
    name = VARIANTS[variant]
    if name not in manifest.files:
        raise DarkroomError(
            f"{folder} has no {name}: it did not pass its checks (see int8_reason in metrics/export.json). "
            "Run the fp32 model instead."
        )
    files = {file: _verified(folder / file, digest) for file, digest in manifest.files.items()}
    try:
        session = open_session(files[name], threads)
    except Exception as error:  # onnxruntime's errors have no narrower common class
        raise DarkroomError(f"{folder / name} cannot be run ({error}): {_REMEDY}.") from error
    _require_signature(session, manifest, folder / name)
    return Bundle(session, manifest, variant, hashlib.sha256(described).hexdigest()[:12], manifest.files[name])


def check_golden(bundle: Bundle, folder: str | Path) -> None:
    """Run the golden images in the bundle's `folder`; raises DarkroomError if the outputs are not those at export."""
    path = Path(folder) / GOLDEN
    contents = _verified(path, bundle.manifest.files[GOLDEN])
    try:
        with np.load(BytesIO(contents), allow_pickle=False) as golden:
            images, *expected = (golden[name] for name in (INPUT, *golden_names(bundle.variant)))
        if images.dtype != np.uint8 or images.shape[1:] != bundle.manifest.shape:
            raise ValueError(f"images have dtype {images.dtype} and shape {images.shape[1:]}")
        found = predict(bundle, images)
        if [(one.shape, one.dtype) for one in found] != [(one.shape, one.dtype) for one in expected]:
            raise ValueError(
                f"outputs have {', '.join(f'dtype {one.dtype} and shape {one.shape}' for one in expected)}"
            )
        difference = max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise DarkroomError(f"{path} does not hold golden images and outputs ({error}): {_REMEDY}.") from error
    if not difference <= (allowed := GOLDEN_TOLERANCE[bundle.variant]):  # not `>`, which is false for NaN
        raise DarkroomError(
            f"The model's outputs for {path} differ from those at export by {difference:.3g}, more than {allowed:g}: "
            f"{_REMEDY}."
        )


def golden_names(variant: str) -> list[str]:
    """The names of a model's logits and probabilities in golden.npz."""
    return [name if variant == "fp32" else f"{variant}_{name}" for name in OUTPUTS]


def open_session(model: bytes, threads: int) -> InferenceSession:
    """Open the contents of an ONNX file, to run on `threads` CPU threads; raises onnxruntime's exceptions."""
    options = SessionOptions()
    options.intra_op_num_threads = threads  # always set: the last bits of the results depend on it
    options.inter_op_num_threads = 1
    return InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(bundle: Bundle, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and probabilities, each (N, K) float32, of images (N, height, width, C) uint8 in one batch. Thread-safe.

    Memory for resizing large images is returned to the system; by default onnxruntime keeps the largest amount used.
    """
    options = RunOptions()
    if images.shape[1:] != bundle.manifest.shape and images.size > _LARGE:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    logits, probabilities = bundle.session.run(OUTPUTS, {INPUT: images}, options)
    return logits, probabilities


def predict(bundle: Bundle, images: np.ndarray, batch_size: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Logits and probabilities, each (N, K) float32, of images (N, height, width, C) uint8, N at least 1.

    A batch has at most `batch_size` images, fewer of large ones.
    """
    return answers(bundle.session, images, batch_size)


def answers(session: InferenceSession, images: np.ndarray, batch_size: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """As `predict`, for a model that is not in a bundle yet."""
    batch_size = min(batch_size, max(1, _MAX_PIXELS // math.prod(images.shape[1:3])))
    starts = tqdm(range(0, len(images), batch_size), desc="exported model", unit="batch", leave=False, disable=None)
    batches = [
        session.run(OUTPUTS, {INPUT: np.ascontiguousarray(images[start : start + batch_size])}) for start in starts
    ]
    logits, probabilities = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return logits, probabilities


def decode_image(manifest: Manifest, contents: bytes) -> np.ndarray:
    """The pixels (H, W, C) uint8 of an image file at the model's input size; raises image.Unusable."""
    *size, channels = manifest.shape
    whole = uncropped(size, manifest.crop_fraction)
    options = channels, manifest.resize, manifest.max_pixels, manifest.intensity_range, manifest.interpolation
    return centre(decode(contents, whole, *options)[None], size)[0]


def latency_ms(bundle: Bundle, repeats: int = 200) -> float:
    """Milliseconds for one image: the median of `repeats` runs, after a tenth as many to warm up."""
    image = np.zeros((1, *bundle.manifest.shape), dtype=np.uint8)
    seconds = []
    for _ in range(repeats + repeats // 10):
        started = time.perf_counter()
        run(bundle, image)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[-repeats:])


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DarkroomError(
            f"{path} is missing: run `dvc repro export` to write the bundle, or name the folder of another one."
        ) from None
    except OSError as error:
        raise DarkroomError(f"{path} cannot be read ({error}): {_REMEDY}.") from error


def _parsed(contents: bytes, path: Path) -> Manifest:
    """The manifest in `contents`, read from `path`."""
    try:
        found = json.loads(contents)["format"]
        if found != FORMAT:
            raise DarkroomError(
                f"{path} has bundle format {found!r}, but this version of Darkroom reads format {FORMAT}: run "
                "`dvc repro export` to write the bundle again, or use the version that exported it."
            )
        manifest = TypeAdapter(Manifest).validate_json(contents, strict=True)
        if not {VARIANTS["fp32"], GOLDEN} <= set(manifest.files) <= {*VARIANTS.values(), GOLDEN}:
            raise ValueError(f"unexpected files: {', '.join(manifest.files)}")
        if len(set(manifest.classes)) < len(manifest.classes):
            raise ValueError("duplicate classes")
        if len(manifest.conformal.class_conditional) != len(manifest.classes):
            raise ValueError("conformal.class_conditional needs one threshold per class")
        if manifest.intensity_range and manifest.intensity_range[0] >= manifest.intensity_range[1]:
            raise ValueError("intensity_range must begin with the lower value")
        require_reference(manifest.reference, len(manifest.classes))
        return manifest
    except ValidationError as error:
        reason = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise DarkroomError(f"{path} is not a valid bundle manifest ({reason}): {_REMEDY}.")


def _verified(path: Path, digest: str) -> bytes:
    """The contents of a file of the bundle; raises DarkroomError unless their SHA-256 is `digest`."""
    contents = _contents(path)
    if hashlib.sha256(contents).hexdigest() != digest:
        raise DarkroomError(
            f"{path} does not have the SHA-256 in {MANIFEST}: it was altered or is incomplete; {_REMEDY}."
        )
    return contents


def _require_signature(session: InferenceSession, manifest: Manifest, path: Path) -> None:
    """Raise DarkroomError if the model's classes or channels are not the manifest's, or if its input size is fixed."""
    values = (*session.get_inputs(), *session.get_outputs())
    found = [
        (value.name, value.type, *(size if isinstance(size, int) else None for size in value.shape)) for value in values
    ]
    outputs = [(name, "tensor(float)", None, len(manifest.classes)) for name in OUTPUTS]
    if found != [(INPUT, "tensor(uint8)", None, None, None, manifest.shape[-1]), *outputs]:
        raise DarkroomError(
            f"{path} has other inputs or outputs than {MANIFEST} describes ({len(manifest.classes)} classes, images of "
            f"any size with {manifest.shape[-1]} channels): {_REMEDY}."
        )
