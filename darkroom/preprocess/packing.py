"""Pack images; `darkroom/core/arrays.py` reads them."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from darkroom.core.arrays import SPLITS, UNLABELLED, Manifest
from darkroom.core.cropping import centre
from darkroom.core.outputs import TEMPORARY
from darkroom.datasets.descriptions import Dataset
from darkroom.inputs.config import ImageConfig
from darkroom.preprocess import arrays_folder
from darkroom.preprocess.arrays_folder import Packed
from darkroom.preprocess.samples import Samples

_BLOCK_BYTES = 2**22  # of pixels in memory at a time


class Pack:
    """Images of one shape in a temporary file, written once in blocks and then read as often as needed.

    Only one block is in memory at a time. Use it in a `with` statement, which removes the file.
    """

    def __init__(self, folder: str | Path, shape: tuple[int, int, int]):
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.shape = shape  # height, width, channels
        self._file = tempfile.TemporaryFile(prefix=TEMPORARY, dir=folder)  # noqa: SIM115 - __exit__ closes it
        self._image_bytes = int(np.prod(shape))

    def __enter__(self) -> "Pack":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Append each of the blocks (n, H, W, C) uint8 to the file, and yield it."""
        for block in blocks:
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(block).data)
            self._file.flush()  # `take` reads from the system
            yield block

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The images (n, H, W, C) uint8 at `indices` (n,), in that order. Thread-safe."""
        images = np.empty((len(indices), *self.shape), np.uint8)
        pixels, size, file = images.reshape(-1).data, self._image_bytes, self._file.fileno()
        starts = np.flatnonzero(np.diff(indices, prepend=-2) != 1).tolist()  # consecutive images are read at once
        for start, end in pairwise([*starts, len(indices)]):
            os.preadv(file, [pixels[start * size : end * size]], int(indices[start]) * size)
        return images

    def take_blocks(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """The images at `indices` (n,), in that order, in blocks (m, H, W, C) uint8."""
        step = max(1, _BLOCK_BYTES // self._image_bytes)
        for start in tqdm(range(0, len(indices), step), desc="pack", unit="block", leave=False, disable=None):
            yield self.take(indices[start : start + step])

    def blocks(self) -> Iterator[np.ndarray]:
        """All images in order, in blocks (n, H, W, C) uint8."""
        size, start = max(1, _BLOCK_BYTES // self._image_bytes) * self._image_bytes, 0
        while block := self._read(start, size):
            start += size
            yield np.frombuffer(block, np.uint8).reshape(-1, *self.shape)

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)


def write(
    folder: str | Path,
    pack: Pack,
    samples: Samples,
    dataset: Dataset,
    classes: Sequence[str],
    shape: tuple[int, ...],
    settings: ImageConfig,
    intensity_range: tuple[int, int] | None = None,
) -> Manifest:
    """Write the splits of `samples` and their manifest atomically to `folder`; return the manifest.

    `pack` holds the images in the order of `samples`, resized as by `settings`. Images whose split is "" are skipped.
    `classes` are the remaining classes of `dataset`. `shape` is that of a network's input: the centre of an image. Only
    training and unlabelled images are written whole. `intensity_range` is that of `intensities.measure`.
    """

    def pack_inputs(temporary: Path, indices: Mapping[str, np.ndarray]) -> Packed:
        digests, levels = _write_inputs(temporary, pack, samples, indices, shape)
        if UNLABELLED in indices:
            digests[UNLABELLED] = _write_unlabelled(temporary, pack, indices[UNLABELLED])
        if not len(indices["train"]):  # until people have labelled some
            inputs = (centre(images, shape[:2]) for images in pack.take_blocks(indices[UNLABELLED]))
            levels = sum(map(count_levels, inputs), levels)
        mean, std = channel_statistics(levels)
        resizing = {name: getattr(settings, name) for name in ("resize", "interpolation", "crop_fraction")}
        return Packed(
            digests, {"shape": shape, "mean": mean, "std": std, **resizing, "intensity_range": intensity_range}
        )

    return arrays_folder.write(folder, samples, dataset, classes, pack_inputs)


def _write_unlabelled(folder: Path, pack: Pack, indices: np.ndarray) -> Any:
    """Write the unlabelled images at `indices` (n,), in this order; return a running SHA-256 of them."""
    with (folder / f"{UNLABELLED}.inputs.npy").open("wb") as file:
        digest = _start_inputs(file, len(indices), pack.shape)
        for images in pack.take_blocks(indices):
            file.write(images.data)
            digest.update(images.data)
    return digest


def _start_inputs(file: BinaryIO, count: int, shape: tuple[int, ...]) -> Any:
    """Write the header of `count` inputs of this `shape`; return a running SHA-256."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(file, header)
    return hashlib.sha256(repr(header).encode())


def _write_inputs(
    folder: Path, pack: Pack, samples: Samples, indices: Mapping[str, np.ndarray], shape: tuple[int, ...]
) -> tuple[dict[str, Any], np.ndarray]:
    """Write <split>.inputs.npy of the splits with labels, whose examples are at `indices` (n,), in this order.

    One pass over the pack writes them; training images whose labels were hidden follow. Returns a running SHA-256 by
    split, and the levels (C, 256) of the training inputs of this `shape`, which are the centres of the images.
    """
    levels = np.zeros((pack.shape[-1], 256), dtype=np.int64)
    last = indices["train"][np.isin(indices["train"], samples.hidden)]
    splits = samples.move(last, "").splits
    files, digests = {}, {}

    def add(name: str, images: np.ndarray) -> None:
        inputs = images if shape == pack.shape else centre(images, shape[:2])
        chosen = np.ascontiguousarray(images if name == "train" else inputs)
        files[name].write(chosen.data)
        digests[name].update(chosen.data)
        if name == "train":
            np.add(levels, count_levels(inputs), out=levels)

    with ExitStack() as stack:
        for name in SPLITS:
            files[name] = stack.enter_context((folder / f"{name}.inputs.npy").open("wb"))
            stored = pack.shape if name == "train" else shape
            digests[name] = _start_inputs(files[name], len(indices[name]), stored)
        start = 0
        for block in tqdm(pack.blocks(), desc="pack", unit="block", leave=False, disable=None):
            for name in SPLITS:
                add(name, block[splits[start : start + len(block)] == name])
            start += len(block)
        for images in pack.take_blocks(last):
            add("train", images)
    return digests, levels


def count_levels(images: np.ndarray) -> np.ndarray:
    """Count how often each value occurs in each channel of images (N, H, W, C) uint8: (C, 256) int64."""
    channels = (images[..., channel].reshape(-1) for channel in range(images.shape[-1]))
    return np.stack([np.bincount(values, minlength=256) for values in channels])


def channel_statistics(levels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel, on the scale 0..1, from the counts `levels` (C, 256) int64.

    Exact: the result does not depend on the order of the images.
    """
    values = np.arange(256) / 255
    count = levels.sum(axis=1)
    mean = levels @ values / count
    variance = levels @ values**2 / count - mean**2
    return tuple(float(m) for m in mean), tuple(float(s) for s in np.sqrt(np.maximum(variance, 0)))
