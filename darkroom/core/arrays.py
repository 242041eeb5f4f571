"""Read the packed arrays of a dataset: memory-mapped .npy files and a manifest.

manifest.json
<split>.inputs.npy   (N, ...) uint8, not normalised; images are (N, H, W, C), 0..255
<split>.labels.npy   (N,) int64, index into the manifest's classes
<split>.ids.json     (N,) texts, unique over all splits: where the example came from
<split>.columns.csv  one row per example: its group and the manifest's other columns, if the dataset has any

darkroom/preprocess/packing.py writes them.
"""

import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom.core.errors import DarkroomError

SPLITS = ("train", "val", "test")
TEXT = np.dtypes.StringDType()  # texts of any length: one of 1,000 characters must not widen all others
_WRITE_AGAIN = "run `dvc repro --force preprocess` to write it again"


@dataclass(frozen=True)
class Split:
    """One split of a dataset; the arrays may be memory-mapped and must not be written to."""

    inputs: np.ndarray  # (N, ...) uint8; images are (N, H, W, C), 0..255
    labels: np.ndarray  # (N,) int64
    ids: np.ndarray  # (N,) TEXT

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
    shape: tuple[int, ...]  # of one input; height, width, channels of an image
    mean: tuple[float, ...]  # by channel (last axis) over the training split, on the scale 0..1
    std: tuple[float, ...]
    counts: Mapping[str, int]  # examples by split
    augmentation: Augmentation
    sha256: str  # of the contents of all arrays
    intensity_range: tuple[int, int] | None = None  # of images of more than 8 bits: the values scaled to 0 and 255


def read_manifest(folder: str | Path) -> Manifest:
    """Read the manifest of the arrays in `folder`; raise DarkroomError if it is missing or invalid."""
    path = Path(folder) / "manifest.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        for name in ("classes", "shape", "mean", "std"):
            fields[name] = tuple(fields[name])
        if fields.get("intensity_range"):
            fields["intensity_range"] = tuple(fields["intensity_range"])
        return Manifest(**{**fields, "augmentation": Augmentation(**fields["augmentation"])})
    except FileNotFoundError:
        raise DarkroomError(f"{path} is missing: run `dvc repro preprocess` to write it.") from None
    except (ValueError, TypeError, KeyError) as error:
        raise DarkroomError(f"{path} is not a valid manifest ({error}): {_WRITE_AGAIN}.") from error


def read_split(folder: str | Path, name: str) -> Split:
    """Map the split `name` (train, val or test) of the arrays in `folder` into memory, read-only.

    Raises DarkroomError if a file is missing or truncated, or if the arrays differ in length.
    """
    paths = [Path(folder) / f"{name}.{field}" for field in ("inputs.npy", "labels.npy", "ids.json")]
    try:
        inputs, labels = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths[:2])
        split = Split(inputs, labels, np.array(json.loads(paths[2].read_bytes()), dtype=TEXT))
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DarkroomError(f"The split {name} in {folder} cannot be read ({error}): {_WRITE_AGAIN}.") from error
    one_length = len(split.inputs) == len(split.labels) == len(split.ids)
    if not one_length or split.inputs.dtype != np.uint8 or split.inputs.ndim < 2:
        raise DarkroomError(f"The arrays of the split {name} in {folder} do not match: {_WRITE_AGAIN}.")
    return split


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
    """Copy the inputs (N, ...) uint8 of a split into memory.

    Memory-mapped inputs are read from their file: mapped pages would count as memory of this process in addition.
    """
    if not _is_whole_file(inputs):
        return np.array(inputs)
    return np.fromfile(inputs.filename, np.uint8, inputs.size, offset=inputs.offset).reshape(inputs.shape)


def read_into(out: np.ndarray, inputs: np.ndarray, indices: np.ndarray) -> None:
    """Copy the inputs (N, ...) uint8 of a split at `indices` (n,) into `out` (n, ...) uint8, contiguous.

    Memory-mapped inputs are read from their file: a page fault reads ahead, on some disks megabytes per input. Raises
    DarkroomError if the file was truncated.
    """
    if not _is_whole_file(inputs):
        np.take(inputs, indices, axis=0, out=out)
        return
    with open(inputs.filename, "rb", buffering=0) as file:
        for row, index in zip(out, indices.tolist(), strict=True):
            if os.preadv(file.fileno(), [row.data], inputs.offset + index * row.nbytes) != row.nbytes:
                raise DarkroomError(f"{inputs.filename} was truncated while it was read: {_WRITE_AGAIN}.")


def _is_whole_file(inputs: np.ndarray) -> bool:
    """Whether `inputs` are a whole mapping: a slice of a mapping has the offset of the whole."""
    return isinstance(inputs, np.memmap) and isinstance(inputs.base, mmap.mmap)
