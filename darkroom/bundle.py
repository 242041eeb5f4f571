"""The exported classifier, read and run: one ONNX file that takes raw pixels and needs no PyTorch.

    input   images          (batch, H, W, C) uint8, 0..255
    output  logits          (batch, K) float32
    output  probabilities   (batch, K) float32, 0..1, each row sums to 1: of the logits divided by the temperature

The file's metadata holds the fields of `Bundle`: texts as they are, all else as JSON.
"""

import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession, SessionOptions
from tqdm import tqdm

from darkroom.errors import DarkroomError

FILE = "model.onnx"
TEXTS = ("dataset", "title", "licence", "data_sha256")  # of the metadata; data_sha256 is of the arrays that it was trained on
LISTS = ("classes", "shape")
NUMBERS = ("temperature", "threshold")


@dataclass(frozen=True)
class Bundle:
    """A classifier ready to run, and what its answers mean."""

    session: InferenceSession
    dataset: str
    title: str
    licence: str
    data_sha256: str
    classes: tuple[str, ...]  # names of the columns of logits and probabilities
    shape: tuple[int, int, int]  # height, width, channels
    temperature: float  # fitted on validation
    threshold: float | None  # of the largest probability: below it, an answer should be withheld (see evaluate.target_accuracy); None: always


def read(folder: str | Path, threads: int) -> Bundle:
    """Opens the bundle in `folder`, to run on so many CPU threads.

    Raises DarkroomError where the file is missing, damaged, or no bundle of Darkroom's.
    """
    path = Path(folder) / FILE
    if not path.exists():
        raise DarkroomError(f"{path} is missing: run `dvc repro export` to make it.")
    options = SessionOptions()
    options.intra_op_num_threads = threads  # never left to onnxruntime: the bits of the result depend on it
    options.inter_op_num_threads = 1
    try:
        session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
        texts, numbers = {name: metadata[name] for name in TEXTS}, {name: json.loads(metadata[name]) for name in NUMBERS}
        return Bundle(session, **texts, **numbers, **{name: tuple(json.loads(metadata[name])) for name in LISTS})
    except Exception as error:  # onnxruntime's errors have no class in common but this
        raise DarkroomError(f"{path} cannot be read ({error}): run `dvc repro --force export` to make it anew.") from error


def predict(bundle: Bundle, images: np.ndarray, batch_size: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Logits and probabilities, each (N, K) float32, of pictures (N, H, W, C) uint8, N at least 1."""
    starts = tqdm(range(0, len(images), batch_size), desc="run the bundle", unit="batch", leave=False, disable=None)
    batches = [_run(bundle, np.ascontiguousarray(images[start : start + batch_size])) for start in starts]
    logits, probabilities = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return logits, probabilities


def latency_ms(bundle: Bundle, repeats: int = 200) -> float:
    """Milliseconds from one picture to its answer: the median of `repeats`, after a tenth as many to warm up."""
    image = np.zeros((1, *bundle.shape), dtype=np.uint8)
    seconds = []
    for _ in range(repeats + repeats // 10):
        started = time.perf_counter()
        _run(bundle, image)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[-repeats:])


def _run(bundle: Bundle, images: np.ndarray) -> list[np.ndarray]:
    return bundle.session.run(["logits", "probabilities"], {"images": images})
