"""The exported classifier, read and run: a folder that needs neither PyTorch nor the project that it was trained in.

model.onnx        images (batch, height, width, C) uint8, 0..255, of any height and width -> resized to H x W, normalised, network ->
                  logits (batch, K) float32; divided by the temperature, softmax -> probabilities (batch, K) float32
model.int8.onnx   the same in 8 bits; only where it passed its gates (darkroom/gates.py)
golden.npz        images (n, H, W, C) uint8, and the logits and probabilities (n, K) float32 that each model answered at export
manifest.json     the fields of `Manifest`
README.md         the model card
"""

import hashlib
import json
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
from darkroom.core.errors import DarkroomError
from darkroom.inputs.denoising import denoise
from darkroom.inputs.image import decode

FORMAT = 1  # of the folder; another one is refused
VARIANTS = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
INPUT, OUTPUTS = "images", ["logits", "probabilities"]
GOLDEN, MANIFEST, CARD = "golden.npz", "manifest.json", "README.md"
GOLDEN_TOLERANCE = {
    "fp32": 1e-3,
    "int8": 0.5,
}  # another processor rounds otherwise; one that adds 8 bits in 16 errs by more, and is refused
_LARGE = 2**20  # pixel values; the memory that resizing more of them took is not kept for the next
_REMEDY = "run `dvc repro --force export` to make it anew"


@dataclass(frozen=True)
class Manifest:
    """What the model's answers mean, and what it was made from."""

    format: int
    model: str  # the network's family
    dataset: str
    title: str
    licence: str
    data_sha256: str  # of the arrays that it was trained on
    classes: tuple[str, ...]  # names of the columns of logits and probabilities
    shape: tuple[PositiveInt, PositiveInt, Literal[1, 3]]  # height, width, channels
    resize: Literal["stretch", "crop", "pad"]  # how a picture of another size is brought to it
    denoise: Literal[
        "none", "median"
    ]  # what was done to every picture after that; `picture` does it, the graph does not
    max_pixels: PositiveInt  # a larger picture is not decoded
    opset: PositiveInt  # of ONNX
    temperature: Annotated[FiniteFloat, Field(gt=0)]  # fitted on validation
    threshold: (
        Annotated[float, Field(ge=0, le=1)] | None
    )  # see `withholds` and evaluate.target_accuracy; None: no answer is sure enough
    metrics: Mapping[str, int | FiniteFloat]  # of the test set
    reference: Mapping[
        str, int | Mapping[str, tuple[FiniteFloat, ...]]
    ]  # what validation pictures look like: darkroom/drift.py
    files: Mapping[str, str]  # SHA-256 by name

    def withholds(self, confidence: float) -> bool:
        """Whether an answer whose largest probability this is should be withheld."""
        return self.threshold is None or confidence < self.threshold


@dataclass(frozen=True)
class Bundle:
    """A classifier ready to run, and what its answers mean."""

    session: InferenceSession
    manifest: Manifest
    variant: str  # of VARIANTS
    version: str  # the first 12 hex digits of the manifest's SHA-256
    sha256: str  # of the ONNX file that runs


def read(folder: str | Path, threads: int, variant: str = "fp32") -> Bundle:
    """Opens the bundle in `folder`, to run on so many CPU threads.

    Raises DarkroomError where a file is missing, altered or half-written, or no bundle of this format.
    """
    folder = Path(folder)
    described = _contents(folder / MANIFEST)
    manifest = _parsed(described, folder / MANIFEST)
    name = VARIANTS[variant]
    if name not in manifest.files:
        raise DarkroomError(
            f"{folder} holds no {name}: it did not pass its gates, as metrics/export.json says; run the fp32 model instead."
        )
    model = {file: _verified(folder / file, digest) for file, digest in manifest.files.items()}[
        name
    ]  # what runs is what was hashed
    try:
        session = open_session(model, threads)
    except Exception as error:  # onnxruntime's errors have no class in common but this
        raise DarkroomError(f"{folder / name} cannot be run ({error}): {_REMEDY}.") from error
    _require_signature(session, manifest, folder / name)
    return Bundle(session, manifest, variant, hashlib.sha256(described).hexdigest()[:12], manifest.files[name])


def check_golden(bundle: Bundle, folder: str | Path) -> None:
    """Runs the golden pictures of the bundle's `folder`; raises DarkroomError where they or the answers are not those of the export."""
    path = Path(folder) / GOLDEN
    contents = _verified(path, bundle.manifest.files[GOLDEN])
    try:
        with np.load(BytesIO(contents), allow_pickle=False) as golden:
            images, *expected = (golden[name] for name in (INPUT, *golden_names(bundle.variant)))
        if images.dtype != np.uint8 or images.shape[1:] != bundle.manifest.shape:
            raise ValueError(f"its pictures are {images.dtype} of the shape {images.shape[1:]}")
        answered = predict(bundle, images)
        if any(
            (answer.shape, answer.dtype) != (wanted.shape, wanted.dtype)
            for answer, wanted in zip(answered, expected, strict=True)
        ):
            raise ValueError(
                f"its answers are {', '.join(f'{wanted.dtype} of the shape {wanted.shape}' for wanted in expected)}"
            )
        difference = max(
            float(np.abs(answer - wanted).max()) for answer, wanted in zip(answered, expected, strict=True)
        )
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise DarkroomError(f"{path} holds no golden pictures and answers ({error}): {_REMEDY}.") from error
    if not difference <= (allowed := GOLDEN_TOLERANCE[bundle.variant]):  # not: >, which a NaN would pass
        raise DarkroomError(
            f"The model answers {path} otherwise than at export (by {difference:.3g}, of which {allowed:g} is allowed): {_REMEDY}."
        )


def golden_names(variant: str) -> list[str]:
    """What a model's logits and probabilities are called in golden.npz."""
    return [name if variant == "fp32" else f"{variant}_{name}" for name in OUTPUTS]


def open_session(model: bytes, threads: int) -> InferenceSession:
    """The contents of an ONNX file, ready to run on so many CPU threads; raises an exception of onnxruntime's where they cannot be."""
    options = SessionOptions()
    options.intra_op_num_threads = threads  # never left to onnxruntime: the bits of the result depend on it
    options.inter_op_num_threads = 1
    return InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(bundle: Bundle, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and probabilities, each (N, K) float32, of pictures (N, height, width, C) uint8 in one batch, from any thread.

    What onnxruntime took to resize large pictures is given back to the system, where by itself it would keep all that was ever needed at a time.
    """
    options = RunOptions()
    if images.shape[1:] != bundle.manifest.shape and images.size > _LARGE:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    logits, probabilities = bundle.session.run(OUTPUTS, {INPUT: images}, options)
    return logits, probabilities


def predict(bundle: Bundle, images: np.ndarray, batch_size: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Logits and probabilities, each (N, K) float32, of pictures (N, height, width, C) uint8, N at least 1."""
    return answers(bundle.session, images, batch_size)


def answers(session: InferenceSession, images: np.ndarray, batch_size: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """As `predict`, of a model that is in no bundle yet."""
    starts = tqdm(
        range(0, len(images), batch_size), desc="run the exported model", unit="batch", leave=False, disable=None
    )
    batches = [
        session.run(OUTPUTS, {INPUT: np.ascontiguousarray(images[start : start + batch_size])}) for start in starts
    ]
    logits, probabilities = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return logits, probabilities


def picture(manifest: Manifest, contents: bytes) -> np.ndarray:
    """The pixels (H, W, C) uint8 of a picture file, as those that the model was trained on; raises image.Unusable."""
    height, width, channels = manifest.shape
    pixels = decode(contents, (height, width), channels, manifest.resize, manifest.max_pixels)
    return denoise(pixels[None], manifest.denoise)[0]


def latency_ms(bundle: Bundle, repeats: int = 200) -> float:
    """Milliseconds from one picture to its answer: the median of `repeats`, after a tenth as many to warm up."""
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
            f"{path} is missing: run `dvc repro export` to make the bundle, or name the folder that holds it."
        ) from None
    except OSError as error:
        raise DarkroomError(f"{path} cannot be read ({error}): {_REMEDY}.") from error


def _parsed(contents: bytes, path: Path) -> Manifest:
    """The manifest in `contents`, the file at `path`."""
    try:
        found = json.loads(contents)["format"]
        if found != FORMAT:
            raise DarkroomError(
                f"{path} is of a bundle of format {found!r}, but this Darkroom runs format {FORMAT}: export it with the same version."
            )
        manifest = TypeAdapter(Manifest).validate_json(contents, strict=True)
        if not {VARIANTS["fp32"], GOLDEN} <= set(manifest.files) <= {*VARIANTS.values(), GOLDEN}:
            raise ValueError(f"it describes the files {', '.join(manifest.files)}")
        if len(set(manifest.classes)) < len(manifest.classes):
            raise ValueError("two of its classes have one name")
        require_reference(manifest.reference, len(manifest.classes))
        return manifest
    except ValidationError as error:
        reason = "; ".join(f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in error.errors())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise DarkroomError(f"{path} is no bundle's manifest ({reason}): {_REMEDY}.")


def _verified(path: Path, digest: str) -> bytes:
    """The contents of a file of the bundle, whose SHA-256 is `digest`."""
    contents = _contents(path)
    if hashlib.sha256(contents).hexdigest() != digest:
        raise DarkroomError(
            f"{path} is not the file that {MANIFEST} describes, but an altered or a half-written one: {_REMEDY}."
        )
    return contents


def _require_signature(session: InferenceSession, manifest: Manifest, path: Path) -> None:
    """Raises DarkroomError where the model gives other classes than the manifest says, or does not take its pictures in any size and number."""
    values = (*session.get_inputs(), *session.get_outputs())
    found = [
        (value.name, value.type, *(size if isinstance(size, int) else None for size in value.shape)) for value in values
    ]
    answers = [(name, "tensor(float)", None, len(manifest.classes)) for name in OUTPUTS]
    if found != [(INPUT, "tensor(uint8)", None, None, None, manifest.shape[-1]), *answers]:
        raise DarkroomError(
            f"{path} is no model of the {len(manifest.classes)} classes and the pictures that {MANIFEST} describes: {_REMEDY}."
        )
