"""Read the packed arrays of a dataset: memory-mapped .npy files and a manifest.

manifest.json
<split>.inputs.npy   images (N, H, W, C) uint8, 0..255, not normalised, those of train may be larger;
                     texts (N, L) int32, the indices of their tokens, padded with 0 at the end;
                     rows of a table (N, C) float32, as darkroom/columns/schema.py describes them;
                     histories (N, L) int32, the items of a user's latest events, oldest first, padded with 0 at
                     the end: item i of the manifest's classes is i + 1; the label is the item of the next event
<split>.labels.npy   (N,) int64, index into the manifest's classes; the splits `unlabelled` and `out_of_scope` have none
<split>.ids.json     (N,) texts, unique over all splits: where the example came from
<split>.texts.json   (N,) texts, if the examples are texts, and tokenizer.json, which made their tokens
columns.json         what the columns hold, if the examples are rows of a table
items.csv            item, title and train_events of each class, if the examples are histories, and, if the items have
                     features, items.features.npy (classes, F) float32
<split>.columns.csv  one row per example: its group and the manifest's other columns, if the dataset has any

darkroom/preprocess/packing.py writes them.
"""

import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.core.cropping import centre
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import NOUNS, plural

SPLITS = ("train", "val", "test")
UNLABELLED = "unlabelled"  # the split of examples without a label, if there are any; it has no labels file
OUT_OF_SCOPE = "out_of_scope"  # the split of examples of none of the classes, for evaluation; it has no labels file
HIDDEN = "hidden/"  # begins the ids of examples whose labels `preprocess.labels_per_class` hides
TEXT = np.dtypes.StringDType()  # texts of any length: one of 1,000 characters must not widen all others
_WRITE_AGAIN = "run `dvc repro --force preprocess` to write it again"


@dataclass(frozen=True)
class Split:
    """One split of a dataset; the arrays may be memory-mapped and must not be written to."""

    uncropped: np.ndarray  # as in the file; images are (N, H', W', C): random crops may use all of their pixels
    labels: np.ndarray  # (N,) int64
    ids: np.ndarray  # (N,) TEXT
    size: tuple[int, int] | None = None  # H, W of an input if that is the centre of an image; None: the whole

    @property
    def inputs(self) -> np.ndarray:
        """What a network sees without augmentation, a view.

        Images (N, H, W, C) uint8, texts or histories (N, L) int32, or rows of a table (N, C) float32.
        """
        return centre(self.uncropped, self.size) if self.size else self.uncropped

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Augmentation:
    """Which changes of an image do not change its class in this dataset."""

    flip: bool  # mirroring left to right: true for shoes, false for digits
    shift: int  # translation by up to this many pixels in any direction


@dataclass(frozen=True)
class Manifest:
    """Description of the arrays: all that later stages need to know about the dataset besides the arrays."""

    dataset: str
    title: str
    licence: str
    classes: tuple[str, ...]
    # Of one input: (height, width, channels); of a text (tokens at most, kinds of tokens); of a row of a table, for
    # each column the kinds of categories, or 0 for numbers; of a history (events at most, items + 1, their features)
    shape: tuple[int, ...]
    mean: tuple[float, ...]  # by channel (last axis) over the training split, on the scale 0..1
    std: tuple[float, ...]
    counts: Mapping[str, int]  # examples by split
    augmentation: Augmentation
    sha256: str  # of the contents of all arrays
    test_sha256: str  # of the inputs, labels and ids of the test split
    test_examples_sha256: str  # of its labels and ids, which image size and resizing don't change
    resize: str  # how images were resized, as in darkroom/inputs/config.py; "" and 1.0 for texts
    interpolation: str
    crop_fraction: float
    intensity_range: tuple[int, int] | None = None  # of images of more than 8 bits: the values scaled to 0 and 255
    kind: str = "image"  # of the examples; or text, table, history
    drawn: Mapping[str, float] = field(default_factory=dict)  # fractions of `preprocess.cold_start.fractions`
    # What the dataset.yaml of histories says of their events: columns by role, and the lowest rating
    events: Mapping[str, str | float] = field(default_factory=dict)
    incomplete: str = ""  # why there are too few labels to train on, if there are


def read_manifest(folder: str | Path) -> Manifest:
    """Read the manifest of the arrays in `folder`; raise DarkroomError if it is missing or invalid."""
    path = Path(folder) / "manifest.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        for name in ("classes", "shape", "mean", "std"):
            given[name] = tuple(given[name])
        if given.get("intensity_range"):
            given["intensity_range"] = tuple(given["intensity_range"])
        return Manifest(**{**given, "augmentation": Augmentation(**given["augmentation"])})
    except FileNotFoundError:
        raise DarkroomError(f"{path} is missing: run `dvc repro preprocess` to write it.") from None
    except (ValueError, TypeError, KeyError) as error:
        raise DarkroomError(f"{path} is not a valid manifest ({error}): {_WRITE_AGAIN}.") from error


def fields(manifest: Manifest) -> dict[str, Any]:
    """The contents of manifest.json; without a kind, the examples are images."""
    usual = {"kind": "image", "drawn": {}, "events": {}, "incomplete": ""}
    return {name: value for name, value in asdict(manifest).items() if name not in usual or value != usual[name]}


def require_labels(manifest: Manifest) -> None:
    """Raise DarkroomError if there are too few labels to train on."""
    if missing := missing_labels(manifest):
        raise DarkroomError(missing)


def missing_labels(manifest: Manifest) -> str:
    """Why there are too few labels to train on, and the next step; an empty string if there are enough."""
    if not manifest.incomplete:
        return ""
    return (
        f"{manifest.title}: {manifest.incomplete}. Choose examples with `python -m darkroom.acquire`, label them with "
        "`python -m darkroom.label`, and run `dvc repro`."
    )


def require_images(manifest: Manifest, what: str, remedy: str) -> None:
    """Raise DarkroomError, with what to do instead, if the examples are not images, which `what` needs."""
    if manifest.kind != "image":
        raise DarkroomError(f"{what} needs images, and {manifest.title} has {plural(NOUNS[manifest.kind])}: {remedy}.")


def read_split(folder: str | Path, name: str) -> Split:
    """Map the split `name` (of SPLITS, UNLABELLED or OUT_OF_SCOPE) of the arrays in `folder` into memory, read-only.

    Raises DarkroomError if a file is missing or truncated, or if the arrays differ in length or from the manifest.
    """
    paths = [Path(folder) / f"{name}.{field}" for field in ("inputs.npy", "labels.npy", "ids.json")]
    try:
        packed, *labels = (np.load(path, "r", allow_pickle=False) for path in paths[: 1 + (name in SPLITS)])
        ids = np.array(json.loads(paths[2].read_bytes()), dtype=TEXT)
        labels = labels[0] if labels else np.full(len(ids), -1)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DarkroomError(f"The split {name} in {folder} cannot be read ({error}): {_WRITE_AGAIN}.") from error
    manifest = read_manifest(folder)
    shape, dtype = {
        "image": (manifest.shape, np.uint8),
        "text": (manifest.shape[:1], np.int32),
        "table": ((len(manifest.shape),), np.float32),
        "history": (manifest.shape[:1], np.int32),
    }[manifest.kind]
    size = shape[:2] if packed.ndim == 4 == len(shape) + 1 and packed.shape[1:] != shape else None
    split, one_length = Split(packed, labels, ids, size), len(packed) == len(labels) == len(ids)
    if not one_length or packed.dtype != dtype or packed.ndim < 2 or split.inputs.shape[1:] != shape:
        raise DarkroomError(f"The arrays of the split {name} in {folder} do not match: {_WRITE_AGAIN}.")
    return split


def read_unlabelled(folder: str | Path) -> Split | None:
    """The examples without a label, as `read_split` reads a split; their labels are -1. None if there are none."""
    return _read_optional(folder, UNLABELLED)


def read_out_of_scope(folder: str | Path) -> Split | None:
    """The examples of none of the classes, as `read_split` reads a split, with labels -1. None if there are none."""
    return _read_optional(folder, OUT_OF_SCOPE)


def _read_optional(folder: str | Path, name: str) -> Split | None:
    return read_split(folder, name) if (Path(folder) / f"{name}.inputs.npy").exists() else None


def read_texts(folder: str | Path, name: str) -> list[str]:
    """The texts of the split `name`; raise DarkroomError if they cannot be read."""
    path = Path(folder) / f"{name}.texts.json"
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DarkroomError(f"{path} cannot be read ({error}): {_WRITE_AGAIN}.") from None


@dataclass(frozen=True)
class Items:
    """The items of a dataset of histories, which are its classes."""

    titles: np.ndarray  # (K,) TEXT; "" if an item has none
    train_events: np.ndarray  # (K,) int64: events of the training split
    features: np.ndarray  # (K, F) float32; F is 0 if the items have no features


def read_items(folder: str | Path) -> Items:
    """The items of the arrays in `folder`, in the order of the classes; raise DarkroomError if they cannot be read."""
    import pandas as pd

    manifest = read_manifest(folder)
    count, size = len(manifest.classes), manifest.shape[2]
    try:
        table = pd.read_csv(Path(folder) / "items.csv", dtype={"item": str, "title": str}, keep_default_na=False)
        features = np.zeros((count, 0), np.float32)
        if size:
            features = np.load(Path(folder) / "items.features.npy", allow_pickle=False)
        if table["item"].tolist() != list(manifest.classes) or features.shape != (count, size):
            raise ValueError("other items than in the manifest")
        return Items(table["title"].to_numpy(dtype=TEXT), table["train_events"].to_numpy(np.int64), features)
    except (OSError, ValueError, KeyError) as error:
        raise DarkroomError(f"The items in {folder} cannot be read ({error}): {_WRITE_AGAIN}.") from None


def read_columns(folder: str | Path, name: str) -> dict[str, np.ndarray]:
    """The columns (N,) unicode of the split `name` by their names; empty if the dataset has none.

    `group` is the first if examples belong to groups ("" if one is in none); the others are those of the user's
    manifest. Raises DarkroomError if the file is damaged.
    """
    import pandas as pd

    path = Path(folder) / f"{name}.columns.csv"
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DarkroomError(f"{path} cannot be read ({error}): {_WRITE_AGAIN}.") from None
    return {name: table[name].to_numpy(dtype=str) for name in table}


def read_whole(inputs: np.ndarray) -> np.ndarray:
    """Copy the inputs (N, ...) of a split into memory.

    Memory-mapped inputs are read from their file: mapped pages would count as memory of this process in addition.
    """
    mapped = _mapped(inputs)
    if mapped is None:
        return np.array(inputs)
    if inputs.flags.c_contiguous:
        path, start = mapped
        return np.fromfile(path, inputs.dtype, inputs.size, offset=start).reshape(inputs.shape)
    whole = np.empty(inputs.shape, inputs.dtype)
    read_into(whole, inputs, np.arange(len(inputs)))
    return whole


def read_into(out: np.ndarray, inputs: np.ndarray, indices: np.ndarray) -> None:
    """Copy the inputs (N, ...) of a split at `indices` (n,) into `out` (n, ...) of the same dtype, contiguous.

    Memory-mapped inputs are read from their file, and so are views of them: a page fault reads ahead, on some disks
    megabytes per input. Raises DarkroomError if the file was truncated.
    """
    mapped = _mapped(inputs)
    if mapped is None:
        np.take(inputs, indices, axis=0, out=out)
        return
    path, start = mapped
    step, *strides = inputs.strides
    span = inputs.itemsize + sum((n - 1) * stride for n, stride in zip(inputs.shape[1:], strides, strict=True))
    cropped = None
    if not inputs[:1].flags.c_contiguous:
        cropped = np.ndarray(inputs.shape[1:], inputs.dtype, bytearray(span), strides=strides)
    with open(path, "rb", buffering=0) as file:
        for row, index in zip(out, indices.tolist(), strict=True):
            target = row.data if cropped is None else cropped.base
            if os.preadv(file.fileno(), [target], start + index * step) != span:
                raise DarkroomError(f"{path} was truncated while it was read: {_WRITE_AGAIN}.")
            if cropped is not None:
                row[...] = cropped


def _mapped(inputs: np.ndarray) -> tuple[str, int] | None:
    """The file that `inputs`, or the array that they are a view of, are mapped from, and where in it they start.

    None if they are in memory or run backwards.
    """
    whole = inputs
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    if not isinstance(whole, np.memmap) or not isinstance(whole.base, mmap.mmap) or min(inputs.strides) < 0:
        return None
    return whole.filename, whole.offset + inputs.ctypes.data - whole.ctypes.data
