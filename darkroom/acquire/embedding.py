"""What a strategy knows of each example: features, and the predictions of the trained model.

In memory are, per example, at most WIDTH numbers of its features, and as many for its gradient: 512 bytes each. Wider
features are read from the disk in blocks and reduced to their WIDTH principal directions, which keep the distances.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import entr
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from tqdm import tqdm

from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import NOUNS
from darkroom.models import checkpoints, hardware, inference
from darkroom.models.columns import RowNetwork
from darkroom.models.config import ModelConfig
from darkroom.models.inference import probabilities
from darkroom.models.layers import last_layer
from darkroom.models.registry import build
from darkroom.train import features, initial_weights
from darkroom.weights import pretrained

TRAINED, PRETRAINED, IMAGES, TEXTS, ROWS = SOURCES = ("trained", "pretrained", "images", "texts", "rows")
ALONE = {"image": IMAGES, "text": TEXTS, "table": ROWS}  # by kind of example: the source without a network
WIDTH = 128
SAMPLE = 10_000  # examples that determine the principal directions
CELLS = 16  # per side of an image without a network
BUCKETS = 2048  # of the tokens of a text, or the categories of a row, without a network
_BLOCK = 2000  # examples at a time

Rows = Callable[[np.ndarray], np.ndarray]  # indices (n,) int64 -> features (n, D) float32


@dataclass(frozen=True)
class Source:
    """What computes the features: a network on its device, or nothing but the examples."""

    name: str  # of SOURCES
    manifest: Manifest  # with the normalisation of the network
    sha256: str | None = None  # of the weights
    network: nn.Module | None = None
    built: Mapping[str, Any] = field(default_factory=dict)  # see `features.compute`
    fitted: np.ndarray = field(default_factory=lambda: np.empty(0))  # by `rarity` or `moments`

    def rows(self, split: Split) -> Rows:
        """The features of a split; those of a network are computed once and kept in .darkroom/features."""
        read = _reader(split.inputs)
        if self.name == IMAGES:
            return lambda indices: cells(read(indices))
        if self.name == TEXTS:
            return lambda indices: bags(read(indices), self.fitted)
        if self.name == ROWS:
            return lambda indices: standardised(read(indices), self.manifest.shape, self.fitted)
        if self.manifest.kind == "table":
            return lambda indices: inference.predict(_States(self.network), read(indices), (), ())
        return _reader(features.compute(self.network, self.built, split, self.manifest).inputs)

    def probabilities(self, split: Split) -> Rows:
        """What gives the probabilities (n, K) float64 of examples of a split, of a trained network."""
        if self.manifest.kind == "table":
            return lambda indices: probabilities(inference.predict(self.network, split.inputs[indices], (), ()))
        rows, last, device = self.rows(split), last_layer(self.network), next(self.network.parameters()).device
        return lambda indices: probabilities(last(torch.from_numpy(rows(indices)).to(device)).float().cpu().numpy())


class _States(nn.Module):
    """A network of rows without its last layer; of one with several members, the mean of what they see."""

    def __init__(self, network: RowNetwork):
        super().__init__()
        self.network = network

    def forward(self, rows: Tensor) -> Tensor:
        """Features (N, D) of rows (N, C)."""
        found = self.network.features(self.network.embedding(rows))
        return found if found.ndim == 2 else found.mean(1)


@dataclass(frozen=True)
class Predictions:
    """What the trained model says of N examples."""

    label: np.ndarray  # (N,) int64: the most probable class
    probability: np.ndarray  # (N,) float32: of that class
    second_label: np.ndarray  # (N,) int64
    second_probability: np.ndarray  # (N,) float32
    entropy: np.ndarray  # (N,) float32, 0..1: of all probabilities, as a fraction of that of equal ones
    residuals: np.ndarray  # (N, at most WIDTH) float32: probabilities minus the predicted label, one-hot


def find(wanted: str, model: ModelConfig) -> Source:
    """What computes the features: of SOURCES the one that is `wanted`, or for "auto" the first that there is.

    Raises DarkroomError if there is none, if it is of another kind of example, or if the trained model is of other data
    than data/arrays.
    """
    manifest = arrays.read_manifest("data/arrays")
    can_be_trained = Path("models/trained/model.json").exists() and not manifest.incomplete
    if wanted == TRAINED or (wanted == "auto" and can_be_trained):
        return _trained()
    if wanted == PRETRAINED or (wanted == "auto" and model.pretrained != "none"):
        return _pretrained(model, manifest)
    alone = ALONE.get(manifest.kind)
    if alone is None or wanted not in ("auto", alone):
        remedy = f"use --features {alone}" if alone else "run `dvc repro train` first"
        raise DarkroomError(f"--features {wanted} does not go with {NOUNS[manifest.kind]}s: {remedy}.")
    inputs = arrays.read_unlabelled("data/arrays").inputs
    if alone == IMAGES:
        return Source(IMAGES, manifest)
    return Source(alone, manifest, fitted=moments(inputs) if alone == ROWS else rarity(inputs, manifest.shape[1]))


def _trained() -> Source:
    opened = checkpoints.open_trained()
    network = opened.network.to(opened.device, memory_format=torch.channels_last)
    digest = sha256(Path("models/trained/model.safetensors").read_bytes()).hexdigest()
    built = {"family": opened.description.name, "arguments": dict(opened.description.arguments)}
    return Source(TRAINED, opened.manifest, digest, network, built)


def _pretrained(model: ModelConfig, manifest: Manifest) -> Source:
    weights = initial_weights.find(model)
    if weights is None:
        raise DarkroomError(
            "there are no pretrained weights (model.pretrained = none): set model.pretrained and run "
            f"`dvc repro pretrained`, or use --features {ALONE.get(manifest.kind, TRAINED)}."
        )
    hardware.use_threads("auto")
    hardware.keep_freed_memory()
    manifest = initial_weights.normalised(weights, manifest)
    arguments = initial_weights.arguments(model, weights)
    network = build(model.name, arguments, manifest.shape, len(manifest.classes))
    pretrained.load(pretrained.FOLDER, network)
    network = network.eval().to(hardware.choose_device("auto"), memory_format=torch.channels_last)
    return Source(PRETRAINED, manifest, weights.sha256, network, {"family": model.name, "arguments": arguments})


def cells(images: np.ndarray) -> np.ndarray:
    """Features (N, D) float32 of images (N, H, W, C) uint8: the means of at most CELLS x CELLS cells, 0..1."""
    pixels = torch.from_numpy(np.moveaxis(images, 3, 1).astype(np.float32)) / 255
    size = [min(CELLS, side) for side in pixels.shape[2:]]
    return adaptive_avg_pool2d(pixels, size).flatten(1).numpy()


def rarity(inputs: np.ndarray, vocabulary: int) -> np.ndarray:
    """The inverse document frequency (V,) float32 of each kind of token in packed texts (N, L) int32."""
    counts = np.zeros(vocabulary, np.int64)
    for start in range(0, len(inputs), _BLOCK):
        rows = np.sort(inputs[start : start + _BLOCK], 1)
        first = np.diff(rows, axis=1, prepend=-1) > 0  # each kind of token of a text once
        counts += np.bincount(rows[first], minlength=vocabulary)
    return np.log((1 + len(inputs)) / (1 + counts)).astype(np.float32)


def bags(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Features (N, BUCKETS) float32 of packed texts (N, L) int32: their tokens, weighted by `rarity`, in any order.

    Kinds of tokens share buckets, with random signs (Weinberger et al., "Feature hashing for large scale multitask
    learning", ICML 2009). Each row has length 1.
    """
    random = np.random.default_rng(0)
    bucket = random.integers(BUCKETS, size=len(weights))
    signed = random.choice(np.array([-1, 1], np.float32), len(weights)) * weights
    rows, places = np.nonzero(inputs)
    tokens, found = inputs[rows, places], np.zeros((len(inputs), BUCKETS), np.float32)
    np.add.at(found, (rows, bucket[tokens]), signed[tokens])
    return found / np.maximum(1e-12, np.linalg.norm(found, axis=1, keepdims=True))


def moments(rows: np.ndarray) -> np.ndarray:
    """Mean and standard deviation (2, C) float64 of each column of rows (N, C) float32, without missing numbers."""
    held = np.ma.masked_invalid(rows)
    mean, std = (of(axis=0, dtype=np.float64).filled(0) for of in (held.mean, held.std))
    return np.stack([mean, np.where(std > 0, std, 1)])


def standardised(rows: np.ndarray, shape: Sequence[int], fitted: np.ndarray) -> np.ndarray:
    """Features (N, D) float32 of rows (N, C): numbers scaled by `moments`, missing ones 0; then categories one-hot.

    More than BUCKETS categories share buckets.
    """
    sizes, (mean, std) = np.array(shape), fitted
    numbers = np.nan_to_num((rows - mean) / std)[:, sizes == 0]
    codes = rows[:, sizes > 0].astype(np.int64) + (sizes.cumsum() - sizes)[sizes > 0]  # unlike those of other columns
    if (total := sizes.sum()) > BUCKETS:
        codes = np.random.default_rng(0).integers(BUCKETS, size=total)[codes]
    found = np.zeros((len(rows), min(total, BUCKETS)))
    np.add.at(found, (np.arange(len(rows))[:, None], codes), 1)
    return np.hstack([numbers, found]).astype(np.float32)


def directions(rows: Rows, count: int, random: np.random.Generator) -> np.ndarray | None:
    """The WIDTH principal directions (D, WIDTH) float32 of `count` rows, by a sample; None if they are not wider.

    They are those of the second moments: not only distances but also inner products are kept.
    """
    chosen = np.sort(random.permutation(count)[:SAMPLE])
    if rows(chosen[:1]).shape[1] <= WIDTH:
        return None
    moments = sum(block.T.astype(np.float64) @ block for _, block in _blocks(rows, chosen, "directions"))
    return np.linalg.eigh(moments)[1][:, -WIDTH:].astype(np.float32)


def reduced(rows: Rows, indices: np.ndarray, axes: np.ndarray | None) -> np.ndarray:
    """The rows at `indices` (n,) in the directions `axes` (D, W), or as they are: (n, W) float32."""
    width = rows(indices[:1]).shape[1] if axes is None else axes.shape[1]
    found = np.empty((len(indices), width), np.float32)
    for start, block in _blocks(rows, indices, "read features"):
        found[start : start + len(block)] = block if axes is None else block @ axes
    if not np.isfinite(found).all():
        raise DarkroomError("the features are not finite: train the model again, or choose other --features.")
    return found


@torch.inference_mode()
def summarised(predicted: Rows, indices: np.ndarray, random: np.random.Generator) -> Predictions:
    """The predictions for the examples at `indices` (n,); `predicted` gives the probabilities (n, K) of some."""

    def residual(chosen: np.ndarray) -> np.ndarray:
        found = predicted(chosen)
        found[np.arange(len(found)), found.argmax(1)] -= 1
        return found

    axes = directions(lambda chosen: residual(indices[chosen]), len(indices), random)
    width = predicted(indices[:1]).shape[1] if axes is None else axes.shape[1]
    numbers = (np.empty(len(indices), kind) for kind in (np.int64, np.float32, np.int64, np.float32, np.float32))
    summary = Predictions(*numbers, np.empty((len(indices), width), np.float32))
    for start, found in _blocks(predicted, indices, "predict"):
        number = np.arange(len(found))
        first, second = np.argsort(-found, axis=1, kind="stable")[:, :2].T
        values = [first, found[number, first], second, found[number, second]]
        values.append(entr(found).sum(1) / np.log(found.shape[1]))
        found[number, first] -= 1
        values.append(found if axes is None else found @ axes)
        for whole, part in zip(vars(summary).values(), values, strict=True):
            whole[start : start + len(found)] = part
    return summary


def _reader(inputs: np.ndarray) -> Rows:
    """Rows of an array (N, ...), read from its file: mapped pages would count as memory of this process."""

    def read(indices: np.ndarray) -> np.ndarray:
        block = np.empty((len(indices), *inputs.shape[1:]), inputs.dtype)
        arrays.read_into(block, inputs, indices)
        return block

    return read


def _blocks(rows: Rows, indices: np.ndarray, what: str) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of the rows at `indices` (n,), each with its start."""
    for start in tqdm(range(0, len(indices), _BLOCK), what, unit="block", leave=False, disable=None):
        yield start, rows(indices[start : start + _BLOCK])
