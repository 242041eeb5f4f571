"""The packed store of a dataset: uint8 pixels, labels and ids as memory-mapped .npy files, and a manifest.

manifest.json
<split>.inputs.npy   (N, H, W, C) uint8, 0..255, not normalised
<split>.labels.npy   (N,) int64, an index into the manifest's classes
<split>.ids.npy      (N,) unicode, unique over all splits; where the sample came from
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


@dataclass(frozen=True)
class Split:
    """One split of a dataset; the arrays may be memory-mapped and must not be written to."""

    inputs: np.ndarray  # (N, ...) uint8: images are (N, H, W, C), 0..255
    labels: np.ndarray  # (N,) int64
    ids: np.ndarray  # (N,) unicode

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Augmentation:
    """Which changes leave a picture of this dataset in its class."""

    flip: bool  # mirrored left to right: a shoe stays a shoe, a 2 is no 2 any more
    shift: int  # moved by up to so many pixels in any direction


@dataclass(frozen=True)
class Manifest:
    """What the arrays hold; everything that later stages need to know of the data besides the arrays."""

    dataset: str
    title: str
    licence: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # height, width, channels
    mean: tuple[float, ...]  # by channel, over the training split, on the scale 0..1
    std: tuple[float, ...]
    counts: Mapping[str, int]  # by split
    augmentation: Augmentation
    sha256: str  # of the contents of all arrays


def read_manifest(folder: str | Path) -> Manifest:
    """Reads the manifest of the arrays in `folder`.

    Raises DarkroomError where there is none or where it is not a manifest.
    """
    path = Path(folder) / "manifest.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        for name in ("classes", "shape", "mean", "std"):
            fields[name] = tuple(fields[name])
        return Manifest(**{**fields, "augmentation": Augmentation(**fields["augmentation"])})
    except FileNotFoundError:
        raise DarkroomError(f"{path} is missing: run `dvc repro preprocess` to make it.") from None
    except (ValueError, TypeError, KeyError) as error:
        raise DarkroomError(
            f"{path} is no manifest ({error}): run `dvc repro --force preprocess` to make it anew."
        ) from error


def read_split(folder: str | Path, name: str) -> Split:
    """Maps the split `name` (train, val or test) of the arrays in `folder` into memory, read-only.

    Raises DarkroomError where a file is missing, truncated, or does not fit the others.
    """
    try:
        split = Split(
            *(
                np.load(Path(folder) / f"{name}.{field}.npy", mmap_mode="r", allow_pickle=False)
                for field in ("inputs", "labels", "ids")
            )
        )
    except (OSError, ValueError, EOFError) as error:
        raise DarkroomError(
            f"The {name} split in {folder} cannot be read ({error}): run `dvc repro --force preprocess` to make it anew."
        ) from error
    if not len(split.inputs) == len(split.labels) == len(split.ids) or split.inputs.dtype != np.uint8:
        raise DarkroomError(
            f"The {name} split in {folder} does not fit together: run `dvc repro --force preprocess` to make it anew."
        )
    return split


def read_whole(images: np.ndarray) -> np.ndarray:
    """A copy of a split's images in memory; it leaves no mapped pages behind, which would count as this process's memory too."""
    if not _is_whole_file(images):
        return np.array(images)
    return np.fromfile(images.filename, np.uint8, images.size, offset=images.offset).reshape(images.shape)


def read_into(out: np.ndarray, images: np.ndarray, places: np.ndarray) -> None:
    """Reads the pictures at `places` (n,) of the split's `images` into `out` (n, H, W, C) uint8, contiguous.

    From the file itself where they are memory-mapped: a fault in a mapping reads ahead, on some disks megabytes for a picture.
    Raises DarkroomError where the file is no longer whole.
    """
    if not _is_whole_file(images):
        np.take(images, places, axis=0, out=out)
        return
    with open(images.filename, "rb", buffering=0) as file:
        for picture, place in zip(out, places.tolist(), strict=True):
            if os.preadv(file.fileno(), [picture.data], images.offset + place * picture.nbytes) != picture.nbytes:
                raise DarkroomError(
                    f"{images.filename} was cut short while it was read: run `dvc repro --force preprocess` to make it anew."
                )


def _is_whole_file(images: np.ndarray) -> bool:
    return isinstance(images, np.memmap) and isinstance(
        images.base, mmap.mmap
    )  # not a part of a mapping, which has the offset of the whole
