"""The packed store of a dataset: uint8 pixels, labels and ids as memory-mapped .npy files, and a manifest.

manifest.json
<split>.images.npy   (N, H, W, C) uint8, 0..255, not normalised
<split>.labels.npy   (N,) int64, an index into the manifest's classes
<split>.ids.npy      (N,) unicode, unique over all splits; where the sample came from
"""

import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from darkroom.errors import DarkroomError
from darkroom.outputs import TEMPORARY, new_folder, write_json
from darkroom.samples import SPLITS, Samples

_BLOCK_BYTES = 2**22  # of pixels in memory at a time


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


class Pack:
    """Pictures of one shape in a temporary file: written once, a block at a time, then read as often as needed.

    However many they are, only a block of them is in memory. Use it in a `with` statement, which removes the file.
    """

    def __init__(self, folder: str | Path, shape: tuple[int, int, int]):
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.shape = shape
        self._file = tempfile.TemporaryFile(prefix=TEMPORARY, dir=folder)  # noqa: SIM115 - __exit__ closes it
        self._size = int(np.prod(shape))  # bytes of a picture

    def __enter__(self) -> "Pack":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Passes blocks (n, H, W, C) uint8 on, and writes each to the end of the file."""
        for block in blocks:
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(block).data)
            yield block

    def take(self, places: np.ndarray) -> np.ndarray:
        """The pictures at `places` (n,), in that order: (n, H, W, C) uint8."""
        images = np.empty((len(places), *self.shape), np.uint8)
        for image, place in zip(images, places.tolist(), strict=True):
            self._file.seek(place * self._size)
            self._file.readinto(image.data)
        return images

    def blocks(self) -> Iterator[np.ndarray]:
        """All pictures in order, in blocks (n, H, W, C) uint8."""
        whole, start = max(1, _BLOCK_BYTES // self._size) * self._size, 0
        while block := self._read(start, whole):
            start += whole
            yield np.frombuffer(block, np.uint8).reshape(-1, *self.shape)

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)


def write(folder: str | Path, pack: Pack, samples: Samples, manifest: Mapping[str, object]) -> Manifest:
    """Writes the splits of `samples`, whose pictures `pack` holds in the same order, and their manifest, whole or not at all.

    A picture whose split is "" is left out. `manifest` holds the manifest's fields but for the five that follow from the
    arrays: shape, mean and std (of the training split), counts and sha256. Returns the manifest written.
    """
    places = {name: samples.within(name) for name in SPLITS}
    with new_folder(folder) as temporary:
        digests, levels = _write_images(temporary, pack, samples.splits, {name: len(places[name]) for name in SPLITS})
        for name in SPLITS:
            for field, column in (("labels", samples.labels), ("ids", samples.ids)):
                array = column[places[name]]
                np.save(temporary / f"{name}.{field}.npy", array, allow_pickle=False)
                digests[name].update(f"{field} {array.dtype.str} {array.shape}".encode())
                digests[name].update(array.view(np.uint8).reshape(-1) if array.size else b"")
        mean, std = channel_statistics(levels)
        written = Manifest(
            **manifest,
            shape=pack.shape,
            mean=mean,
            std=std,
            counts={name: len(places[name]) for name in SPLITS},
            sha256=hashlib.sha256(b"".join(digests[name].digest() for name in SPLITS)).hexdigest(),
        )
        write_json(temporary / "manifest.json", asdict(written))
    return written


def _write_images(folder: Path, pack: Pack, splits: np.ndarray, counts: Mapping[str, int]) -> tuple[dict[str, Any], np.ndarray]:
    """Writes <split>.images.npy in one pass over the pack; returns a running SHA-256 by split, and the training pictures' levels (C, 256)."""
    levels = np.zeros((pack.shape[-1], 256), dtype=np.int64)
    with ExitStack() as stack:
        files, digests = {}, {}
        for name in SPLITS:
            files[name] = stack.enter_context((folder / f"{name}.images.npy").open("wb"))
            header = {"descr": "|u1", "fortran_order": False, "shape": (counts[name], *pack.shape)}
            np.lib.format.write_array_header_1_0(files[name], header)
            digests[name] = hashlib.sha256(repr(header).encode())
        start = 0
        for block in tqdm(pack.blocks(), desc="pack", unit="block", leave=False, disable=None):
            for name in SPLITS:
                chosen = np.ascontiguousarray(block[splits[start : start + len(block)] == name])
                files[name].write(chosen.data)
                digests[name].update(chosen.data)
                if name == "train":
                    levels += count_levels(chosen)
            start += len(block)
    return digests, levels


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
    except (OSError, ValueError, EOFError) as error:
        raise DarkroomError(f"The {name} split in {folder} cannot be read ({error}): run `dvc repro --force preprocess` to make it anew.") from error
    if not len(split.images) == len(split.labels) == len(split.ids) or split.images.dtype != np.uint8 or split.images.ndim != 4:
        raise DarkroomError(f"The {name} split in {folder} does not fit together: run `dvc repro --force preprocess` to make it anew.")
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
                raise DarkroomError(f"{images.filename} was cut short while it was read: run `dvc repro --force preprocess` to make it anew.")


def _is_whole_file(images: np.ndarray) -> bool:
    return isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap)  # not a part of a mapping, which has the offset of the whole


def count_levels(images: np.ndarray) -> np.ndarray:
    """How often each value appears in each channel of images (N, H, W, C) uint8: (C, 256) int64."""
    return np.stack([np.bincount(images[..., channel].reshape(-1), minlength=256) for channel in range(images.shape[-1])])


def channel_statistics(levels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel, on the scale 0..1, from counts of the values (C, 256) int64: exact, whatever the order."""
    values = np.arange(256) / 255
    count = levels.sum(axis=1)
    mean = levels @ values / count
    variance = levels @ values**2 / count - mean**2
    return tuple(float(m) for m in mean), tuple(float(s) for s in np.sqrt(np.maximum(variance, 0)))
