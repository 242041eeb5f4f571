"""From raw files to pixels: the formats that datasets are published in, none of which can run code, and folders of pictures.

IDX: two zero bytes, a code of the type, the number of dimensions, each dimension as a big-endian 32-bit number, the values.
CIFAR binary: for each picture a byte for its label, then its red, green and blue planes.
"""

import math
from pathlib import Path

import numpy as np

from darkroom.datasets import index
from darkroom.datasets.descriptions import Published

DESCRIPTION = index.DESCRIPTION  # in the folder of raw files: the dataset that they belong to
LARGEST_AUTO = (
    64  # pixels a side of what preprocess.image_size = auto makes of larger pictures, or of pictures that differ
)

_BLOCK = 1024  # pictures decoded, or entries read, at a time
_IDX_TYPES = {0x08: np.dtype("u1"), 0x0C: np.dtype(">i4")}  # those of the known datasets, of the six that IDX has
_CIFAR_SHAPE = (3, 32, 32)


def decode(description: Published, folder: Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The training and the test set of `description` in `folder`: images (N, H, W, C) uint8 and labels (N,) int64 each.

    Raises ValueError with a phrase that names the file and what is wrong.
    """
    read_split = _idx_split if description.format == "idx" else _cifar_split
    train, test = (read_split(description, folder, split) for split in ("train", "test"))
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ValueError(
            f"the training images are {train[0].shape[1:]} (height, width, channels), the test images {test[0].shape[1:]}"
        )
    return train, test


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, of its own shape, uint8 or int32; raises ValueError as `decode` does."""
    with path.open("rb") as file:
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _IDX_TYPES or not 1 <= start[3] <= 4:
            raise ValueError(
                f"{path.name} is no IDX file of bytes or of 32-bit numbers (it starts with {start.hex(' ') or 'nothing'})"
            )
        dimensions = file.read(4 * start[3])
        if len(dimensions) < 4 * start[3]:
            raise ValueError(f"{path.name} is truncated: it ends within its header")
        shape = tuple(np.frombuffer(dimensions, dtype=">u4").tolist())
        dtype, count = _IDX_TYPES[start[2]], math.prod(shape)
        expected, found = file.tell() + count * dtype.itemsize, path.stat().st_size
        if found != expected:
            raise ValueError(
                f"{path.name} {'is truncated' if found < expected else 'is too long'}: {found:,} bytes, where its header promises {expected:,}"
            )
        return np.fromfile(file, dtype=dtype, count=count).astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _idx_split(description: Published, folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    image_file, label_file = (
        file.name for kind in ("images", "labels") for file in description.files if file.role == f"{split}_{kind}"
    )
    images, labels = read_idx(folder / image_file), read_idx(folder / label_file)
    if images.dtype != np.uint8 or images.ndim != 3 or 0 in images.shape:
        raise ValueError(
            f"{image_file} holds no images: {images.dtype} of shape {images.shape} instead of uint8 of (count, height, width)"
        )
    if labels.ndim == 2 and labels.shape[1]:
        labels = labels[:, 0]  # QMNIST: the class, then where the digit comes from
    if labels.ndim != 1:
        raise ValueError(
            f"{label_file} holds no labels: its shape is {labels.shape} instead of (count,) or (count, columns)"
        )
    if len(images) != len(labels):
        raise ValueError(f"{image_file} holds {len(images):,} images, but {label_file} {len(labels):,} labels")
    _check_labels(labels, len(description.classes), label_file)
    if description.transposed:
        images = images.swapaxes(1, 2)
    return np.ascontiguousarray(images[..., None]), labels.astype(np.int64)


def _cifar_split(description: Published, folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    for name in (file.name for file in description.files if file.role == split):
        values = np.fromfile(folder / name, dtype=np.uint8)
        length = 1 + math.prod(_CIFAR_SHAPE)
        if not len(values) or len(values) % length:
            raise ValueError(
                f"{name} is no CIFAR file or truncated: {len(values):,} bytes are no multiple of {length:,}"
            )
        records = values.reshape(-1, length)
        _check_labels(records[:, 0], len(description.classes), name)
        labels.append(records[:, 0])
        planes = records[:, 1:].reshape(-1, *_CIFAR_SHAPE)
        images.append(planes.swapaxes(2, 3) if description.transposed else planes)
    return np.ascontiguousarray(np.concatenate(images).transpose(0, 2, 3, 1)), np.concatenate(labels).astype(np.int64)


def _check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        raise ValueError(
            f"{name} has the label {labels[outside[0]]} at place {outside[0]:,}, but there are {classes} classes (0 to {classes - 1})"
        )
