"""Read and run the exported classifier: a folder that needs neither PyTorch nor the project that it was trained in.

model.onnx        images (batch, height, width, C) uint8, 0..255, of any height and width -> resized and cropped to
                  H x W, unless they have this size, denoised, normalised, network -> logits (batch, K) float32;
                  temperature scaling, softmax -> probabilities (batch, K) float32
model.int8.onnx   the same with an int8 network, if it passed its checks (darkroom/export/gates.py)
golden.npz        images (n, H, W, C) uint8, and each model's logits and probabilities (n, K) float32 at export
manifest.json     the fields of `Manifest`, or of that of another kind: bundle/texts.py, tables.py and histories.py say
                  what differs for texts, rows of a table and histories
README.md         the model card
"""

import hashlib
import json
import math
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from onnxruntime import InferenceSession, RunOptions, SessionOptions
from pydantic import TypeAdapter, ValidationError
from tqdm import tqdm

from darkroom.bundle.drift import require_reference
from darkroom.bundle.manifest import HistoryManifest, Manifest, TableManifest, TextManifest
from darkroom.core.cropping import centre
from darkroom.core.errors import DarkroomError
from darkroom.inputs.image import decode
from darkroom.inputs.resizing import uncropped

FORMAT = 4  # of the folder, which must match; since 4, the manifest says how images are interpolated and cropped
VARIANTS = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
INPUT, OUTPUTS = "images", ["logits", "probabilities"]
TYPICAL_LENGTH = 16  # of a text or a history, for the latency
TOKENS, EMBEDDING = "tokens", "sentence_embedding"  # the input of a model of texts; its output for similar questions
NUMBERS, CATEGORIES = "numbers", "categories"  # the inputs of a model of rows of a table
ITEMS = "items"  # the input of a model of histories
SEQUENCES = {"text": TOKENS, "history": ITEMS}  # kinds of sequences of indices, of any length, and their inputs
AnyManifest = Manifest | TextManifest | TableManifest | HistoryManifest
KINDS = {"image": Manifest, "text": TextManifest, "table": TableManifest, "history": HistoryManifest}
NEEDED = {
    "image": (),
    "text": ("tokenizer.json",),
    "table": ("columns.json", "background.npy"),
    "history": ("items.csv",),
}
FILES = {**NEEDED, "text": ("tokenizer.json", "answers.json", "faq.json", "faq.npy")}
GOLDEN, MANIFEST, CARD = "golden.npz", "manifest.json", "README.md"
# Other CPUs round differently. One that sums int8 products in 16 bits overflows; its error is larger and is refused.
GOLDEN_TOLERANCE = {"fp32": 1e-3, "int8": 0.5}
_MAX_PIXELS = 2**19  # of a batch of `answers`, whose feature maps would fill the memory if the images are large
_LARGE = 2**20  # pixel values; memory for resizing more than these is not kept
_ONNX = {"float32": "float", "str": "string"}  # names of dtypes
REMEDY = "run `dvc repro --force export` to write the bundle again"


@dataclass(frozen=True)
class Bundle:
    """A classifier ready to run, and what its outputs mean."""

    session: InferenceSession
    manifest: AnyManifest
    variant: str  # of VARIANTS
    version: str  # the first 12 hex digits of the manifest's SHA-256
    sha256: str  # of the ONNX file that runs
    others: Mapping[str, bytes] = field(default_factory=dict)  # contents of its other files by name


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
        raise DarkroomError(f"{folder / name} cannot be run ({error}): {REMEDY}.") from error
    _require_signature(session, manifest, folder / name)
    others = {file: files[file] for file in files if file not in (*VARIANTS.values(), GOLDEN)}
    return Bundle(session, manifest, variant, hashlib.sha256(described).hexdigest()[:12], manifest.files[name], others)


def check_golden(bundle: Bundle, folder: str | Path) -> None:
    """Run the golden images in the bundle's `folder`; raises DarkroomError if the outputs are not those at export."""
    path = Path(folder) / GOLDEN
    contents = _verified(path, bundle.manifest.files[GOLDEN])
    try:
        inputs = _inputs(bundle.manifest)
        with np.load(BytesIO(contents), allow_pickle=False) as golden:
            feeds = {name: golden[name] for name in inputs}
            expected = [golden[name] for name in golden_names(bundle.variant)]
        for name, (dtype, shape) in inputs.items():
            given = feeds[name]
            if (given.dtype != dtype and (given.dtype.kind, dtype) != ("U", "str")) or given.shape[1:] != shape:
                raise ValueError(f"{name} have dtype {given.dtype} and shape {given.shape[1:]}")
        found = bundle.session.run(OUTPUTS, feeds)
        if [(one.shape, one.dtype) for one in found] != [(one.shape, one.dtype) for one in expected]:
            raise ValueError(
                f"outputs have {', '.join(f'dtype {one.dtype} and shape {one.shape}' for one in expected)}"
            )
        difference = max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise DarkroomError(f"{path} does not hold golden images and outputs ({error}): {REMEDY}.") from error
    if not difference <= (allowed := GOLDEN_TOLERANCE[bundle.variant]):  # not `>`, which is false for NaN
        raise DarkroomError(
            f"The model's outputs for {path} differ from those at export by {difference:.3g}, more than {allowed:g}: "
            f"{REMEDY}."
        )


def _inputs(manifest: AnyManifest) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and the shape of one example of each input of the model, by name."""
    if manifest.kind == "table":
        numbers = sum(size == 0 for size in manifest.shape)
        found = {NUMBERS: ("float32", (numbers,)), CATEGORIES: ("str", (len(manifest.shape) - numbers,))}
        return {name: (dtype, shape) for name, (dtype, shape) in found.items() if shape != (0,)}
    if manifest.kind in SEQUENCES:
        return {SEQUENCES[manifest.kind]: ("int64", manifest.shape[:1])}
    return {INPUT: ("uint8", manifest.shape)}


def golden_names(variant: str) -> list[str]:
    """The names of a model's logits and probabilities in golden.npz."""
    return [name if variant == "fp32" else f"{variant}_{name}" for name in OUTPUTS]


def open_session(model: bytes, threads: int) -> InferenceSession:
    """Open the contents of an ONNX file, to run on `threads` CPU threads; raises onnxruntime's exceptions."""
    options = SessionOptions()
    options.intra_op_num_threads = threads  # always set: the last bits of the results depend on it
    options.inter_op_num_threads = 1
    session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    session._model_bytes = None  # kept only to open the session again elsewhere, and as large as the model
    return session


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
    found = [outputs for _, outputs in batches(session, images, batch_size)]
    logits, probabilities = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return logits, probabilities


def batches(
    session: InferenceSession, images: np.ndarray, batch_size: int = 500
) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """The parts of `answers`, one at a time: which of the images, and their logits and probabilities (n, K)."""
    batch_size = min(batch_size, max(1, _MAX_PIXELS // math.prod(images.shape[1:3])))
    starts = tqdm(range(0, len(images), batch_size), desc="exported model", unit="batch", leave=False, disable=None)
    for start in starts:
        rows = slice(start, start + batch_size)
        yield rows, session.run(OUTPUTS, {INPUT: np.ascontiguousarray(images[rows])})


def decode_image(manifest: Manifest, contents: bytes) -> np.ndarray:
    """The pixels (H, W, C) uint8 of an image file at the model's input size; raises image.Unusable."""
    *size, channels = manifest.shape
    whole = uncropped(size, manifest.crop_fraction)
    options = channels, manifest.resize, manifest.max_pixels, manifest.intensity_range, manifest.interpolation
    return centre(decode(contents, whole, *options)[None], size)[0]


def latency_ms(bundle: Bundle, repeats: int = 200) -> float:
    """Milliseconds for one input: the median of `repeats` runs, after a tenth as many to warm up."""
    one = {
        name: np.ones((1, min(TYPICAL_LENGTH, *shape)), dtype)
        if name in SEQUENCES.values()
        else np.zeros((1, *shape), dtype)
        for name, (dtype, shape) in _inputs(bundle.manifest).items()
    }
    seconds = []
    for _ in range(repeats + repeats // 10):
        started = time.perf_counter()
        bundle.session.run(OUTPUTS, one)
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
        raise DarkroomError(f"{path} cannot be read ({error}): {REMEDY}.") from error


def _parsed(contents: bytes, path: Path) -> AnyManifest:
    """The manifest in `contents`, read from `path`."""
    try:
        found = json.loads(contents)["format"]
        if found != FORMAT:
            raise DarkroomError(
                f"{path} has bundle format {found!r}, but this version of Darkroom reads format {FORMAT}: run "
                "`dvc repro export` to write the bundle again, or use the version that exported it."
            )
        kind = json.loads(contents).get("kind", "image")
        manifest = TypeAdapter(KINDS[kind]).validate_json(contents, strict=True)
        if (
            not {VARIANTS["fp32"], GOLDEN, *NEEDED[kind]}
            <= set(manifest.files)
            <= {*VARIANTS.values(), GOLDEN, *FILES[kind]}
        ):
            raise ValueError(f"unexpected files: {', '.join(manifest.files)}")
        if len(set(manifest.classes)) < len(manifest.classes):
            raise ValueError("duplicate classes")
        if kind != "history" and len(manifest.conformal.class_conditional) != len(manifest.classes):
            raise ValueError("conformal.class_conditional needs one threshold per class")
        if kind == "image" and manifest.intensity_range and manifest.intensity_range[0] >= manifest.intensity_range[1]:
            raise ValueError("intensity_range must begin with the lower value")
        require_reference(manifest.reference, len(manifest.classes), kind)
        return manifest
    except ValidationError as error:
        reason = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise DarkroomError(f"{path} is not a valid bundle manifest ({reason}): {REMEDY}.")


def _verified(path: Path, digest: str) -> bytes:
    """The contents of a file of the bundle; raises DarkroomError unless their SHA-256 is `digest`."""
    contents = _contents(path)
    if hashlib.sha256(contents).hexdigest() != digest:
        raise DarkroomError(
            f"{path} does not have the SHA-256 in {MANIFEST}: it was altered or is incomplete; {REMEDY}."
        )
    return contents


def _require_signature(session: InferenceSession, manifest: AnyManifest, path: Path) -> None:
    """Raise DarkroomError if the model's classes or channels are not the manifest's, or if its input size is fixed."""
    values = (*session.get_inputs(), *session.get_outputs())
    found = [
        (value.name, value.type, *(size if isinstance(size, int) else None for size in value.shape)) for value in values
    ]
    outputs = [(name, "tensor(float)", None, len(manifest.classes)) for name in OUTPUTS]
    if "faq.npy" in manifest.files:
        outputs.append((EMBEDDING, "tensor(float)", None, values[-1].shape[-1]))
    fixed = {"image": 2, "table": 0}.get(manifest.kind, 1)  # any height and width, or any length
    inputs = [
        (name, f"tensor({_ONNX.get(dtype, dtype)})", None, *[None] * fixed, *shape[fixed:])
        for name, (dtype, shape) in _inputs(manifest).items()
    ]
    if found != [*inputs, *outputs]:
        raise DarkroomError(
            f"{path} has other inputs or outputs than {MANIFEST} describes, for {manifest.kind}s of "
            f"{len(manifest.classes)} classes: {REMEDY}."
        )
