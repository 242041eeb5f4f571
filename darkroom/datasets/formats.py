"""Read the file formats of published datasets; none of them can run code.

IDX: two zero bytes, type code, number of dimensions, each dimension as a big-endian 32-bit number, values.
CIFAR binary: for each image one byte for its label, then its red, green and blue planes.
"""

import math
from pathlib import Path

import numpy as np

from darkroom.core.spelling import counted
from darkroom.datasets.descriptions import Published

_IDX_TYPES = {0x08: np.dtype("u1"), 0x0C: np.dtype(">i4")}  # IDX has four more, which no built-in dataset uses
_CIFAR_SHAPE = (3, 32, 32)


def decode(description: Published, folder: Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Read the training and test set of `description` in `folder`: images (N, H, W, C) uint8, labels (N,) int64 each.

    Raises ValueError that names the file and what is wrong.
    """
    read_split = _idx_split if description.format == "idx" else _cifar_split
    train, test = (read_split(description, folder, split) for split in ("train", "test"))
    if train[0].shape[1:] != test[0].shape[1:]:
        shapes = f"{train[0].shape[1:]} and {test[0].shape[1:]} (height, width, channels)"
        raise ValueError(f"training and test images differ in shape: {shapes}")
    return train, test


def read_idx(path: Path) -> np.ndarray:
    """Read the array in an IDX file, uint8 or int32, of any shape; raise ValueError as `decode` does."""
    with path.open("rb") as file:
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _IDX_TYPES or not 1 <= start[3] <= 4:
            found = f"it starts with {start.hex(' ')}" if start else "it is empty"
            raise ValueError(f"{path.name} is not an IDX file of uint8 or int32 values ({found})")
        dimensions = file.read(4 * start[3])
        if len(dimensions) < 4 * start[3]:
            raise ValueError(f"{path.name} is truncated: its header is incomplete")
        shape = tuple(np.frombuffer(dimensions, dtype=">u4").tolist())
        dtype, count = _IDX_TYPES[start[2]], math.prod(shape)
        expected, found = file.tell() + count * dtype.itemsize, path.stat().st_size
        if found != expected:
            problem = "truncated" if found < expected else "too large"
            raise ValueError(f"{path.name} is {problem}: {found:,} bytes, expected {expected:,} by its header")
        return np.fromfile(file, dtype=dtype, count=count).astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _idx_split(description: Published, folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    image_file, label_file = (
        file.name for kind in ("images", "labels") for file in description.files if file.role == f"{split}_{kind}"
    )
    images, labels = read_idx(folder / image_file), read_idx(folder / label_file)
    if images.dtype != np.uint8 or images.ndim != 3 or 0 in images.shape:
        found = f"{images.dtype} values of shape {images.shape}"
        raise ValueError(f"{image_file} has {found}, expected uint8 images of shape (count, height, width)")
    if labels.ndim == 2 and labels.shape[1]:
        labels = labels[:, 0]  # QMNIST: the class, then the origin of the digit
    if labels.ndim != 1:
        raise ValueError(f"{label_file} has the shape {labels.shape}, expected labels (count,) or (count, columns)")
    if len(images) != len(labels):
        raise ValueError(
            f"{image_file} has {counted(len(images), 'image')}, but {label_file} has {counted(len(labels), 'label')}"
        )
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
            problem = f"{len(values):,} bytes are not a multiple of {length:,}"
            raise ValueError(f"{name} is truncated or not a CIFAR file: {problem}")
        records = values.reshape(-1, length)
        _check_labels(records[:, 0], len(description.classes), name)
        labels.append(records[:, 0])
        planes = records[:, 1:].reshape(-1, *_CIFAR_SHAPE)
        images.append(planes.swapaxes(2, 3) if description.transposed else planes)
    return np.ascontiguousarray(np.concatenate(images).transpose(0, 2, 3, 1)), np.concatenate(labels).astype(np.int64)


def _check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        label = f"label {labels[outside[0]]} at index {outside[0]:,}"
        raise ValueError(f"{name} has the {label}, but there are {classes} classes (0 to {classes - 1})")
