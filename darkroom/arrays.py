"""The packed store of a dataset: uint8 pixels, labels and ids as memory-mapped .npy files, and a manifest.

manifest.json
<split>.images.npy   (N, H, W, C) uint8, 0..255, not normalised
<split>.labels.npy   (N,) int64, an index into the manifest's classes
<split>.ids.npy      (N,) unicode, unique over all splits; where the sample came from
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from darkroom.errors import DarkroomError
from darkroom.outputs import new_folder, write_json

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """One split of a dataset; the arrays may be memory-mapped and must not be written to."""

    images: np.ndarray  # (N, H, W, C) uint8, 0..255
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


def write(folder: str | Path, splits: Mapping[str, Split], manifest: Mapping[str, object]) -> Manifest:
    """Writes the three splits and their manifest to `folder`, whole or not at all.

    `manifest` holds the manifest's fields but for the four that follow from the arrays: shape, mean and std (of the
    training split), counts and sha256. Returns the manifest written.
    """
    mean, std = channel_statistics(splits["train"].images)
    with new_folder(folder) as temporary:
        digest = hashlib.sha256()
        for name in SPLITS:
            for field in ("images", "labels", "ids"):
                array = np.ascontiguousarray(getattr(splits[name], field))
                np.save(temporary / f"{name}.{field}.npy", array, allow_pickle=False)
                digest.update(f"{name}.{field} {array.dtype.str} {array.shape}".encode())
                digest.update(array.view(np.uint8).reshape(-1) if array.size else b"")
        written = Manifest(
            **manifest,
            shape=tuple(splits["train"].images.shape[1:]),
            mean=mean,
            std=std,
            counts={name: len(splits[name]) for name in SPLITS},
            sha256=digest.hexdigest(),
        )
        write_json(temporary / "manifest.json", asdict(written))
    return written


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
        raise DarkroomError(f"{path} is no manifest ({error}): run `dvc repro --force preprocess` to make it anew.") from error


def read_split(folder: str | Path, name: str) -> Split:
    """Maps the split `name` (train, val or test) of the arrays in `folder` into memory, read-only.

    Raises DarkroomError where a file is missing, truncated, or does not fit the others.
    """
    try:
        split = Split(*(np.load(Path(folder) / f"{name}.{field}.npy", mmap_mode="r", allow_pickle=False) for field in ("images", "labels", "ids")))
    except (OSError, ValueError) as error:
        raise DarkroomError(f"The {name} split in {folder} cannot be read ({error}): run `dvc repro --force preprocess` to make it anew.") from error
    if not len(split.images) == len(split.labels) == len(split.ids) or split.images.dtype != np.uint8 or split.images.ndim != 4:
        raise DarkroomError(f"The {name} split in {folder} does not fit together: run `dvc repro --force preprocess` to make it anew.")
    return split


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel of images (N, H, W, C) uint8, on the scale 0..1.

    Exact: sums and sums of squares are counted in whole numbers, a block of images at a time.
    """
    channels = images.shape[-1]
    levels = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(images), 4096):
        block = images[start : start + 4096]
        for channel in range(channels):
            levels[channel] += np.bincount(block[..., channel].reshape(-1), minlength=256)
    values = np.arange(256) / 255
    count = levels.sum(axis=1)
    mean = levels @ values / count
    variance = levels @ values**2 / count - mean**2
    return tuple(float(m) for m in mean), tuple(float(s) for s in np.sqrt(np.maximum(variance, 0)))
