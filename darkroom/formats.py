"""From raw files to pixels: the formats that datasets are published in, none of which can run code, and folders of pictures.

IDX: two zero bytes, a code of the type, the number of dimensions, each dimension as a big-endian 32-bit number, the values.
CIFAR binary: for each picture a byte for its label, then its red, green and blue planes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from darkroom import datasets, index, pictures
from darkroom.datasets import Pictures, Published
from darkroom.errors import DarkroomError
from darkroom.params import Preprocess
from darkroom.samples import Samples, published

DESCRIPTION = index.DESCRIPTION  # in the folder of raw files: the dataset that they belong to
LARGEST_AUTO = 64  # pixels a side of what preprocess.image_size = auto makes of larger pictures, or of pictures that differ

_BLOCK = 1024  # pictures decoded, or entries read, at a time
_IDX_TYPES = {0x08: np.dtype("u1"), 0x0C: np.dtype(">i4")}  # those of the known datasets, of the six that IDX has
_CIFAR_SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Raw:
    """A dataset as it came; its pictures stay where they are until they are asked for."""

    description: Published | Pictures
    samples: Samples
    shape: tuple[int, int, int]  # height, width, channels of the pictures that it gives
    aspects: np.ndarray  # (N,) float64: how many times one side of the original is the other, at least 1
    take: Callable[[np.ndarray], list[np.ndarray | str]]  # the pictures at places (n,), each (H, W, C) uint8, or why it cannot be decoded

    def blocks(self, unusable: dict[int, str]) -> Iterator[np.ndarray]:
        """All pictures in the order of the samples, as blocks (n, H, W, C) uint8.

        One that cannot be decoded is black, and `unusable` gets its place and why.
        """
        with tqdm(total=len(self.samples), desc="decode", unit="picture", leave=False, disable=None) as bar:
            for start in range(0, len(self.samples), _BLOCK):
                found = self.take(np.arange(start, min(start + _BLOCK, len(self.samples))))
                unusable |= {place: why for place, why in enumerate(found, start) if isinstance(why, str)}
                yield np.stack([np.zeros(self.shape, np.uint8) if isinstance(one, str) else one for one in found])
                bar.update(len(found))


def read(folder: str | Path, settings: Preprocess) -> Raw:
    """Opens the raw files, or the index of pictures, that the fetch stage left in `folder`.

    Of an index it holds the samples and 48 bytes more a picture; published files it holds whole. Raises DarkroomError where
    files are missing or broken, and so does `take` where a picture is no longer the one that was indexed.
    """
    folder = Path(folder)
    try:
        description = datasets.parse((folder / DESCRIPTION).read_text(encoding="utf-8"), folder / DESCRIPTION)
        if isinstance(description, Pictures):
            return _pictures(description, index.read(folder), settings)
        return _published(description, folder, settings)
    except FileNotFoundError as error:
        raise DarkroomError(f"{error.filename} is missing: run `dvc repro --force fetch` to fetch the raw files anew.") from None
    except ValueError as error:
        raise DarkroomError(f"{folder}: {error}: run `dvc repro --force fetch` to fetch the raw files anew.") from None


def _published(description: Published, folder: Path, settings: Preprocess) -> Raw:
    (train, train_labels), (test, test_labels) = decode(description, folder)
    height, width, channels = train.shape[1:]
    shape = (*_side(settings, height, width), _channels(settings, channels))

    def take(places: np.ndarray) -> list[np.ndarray | str]:
        chosen = [train[place] if place < len(train) else test[place - len(train)] for place in places.tolist()]
        if shape == train.shape[1:]:
            return chosen
        originals = (Image.fromarray(image.squeeze(-1) if channels == 1 else image) for image in chosen)
        return [pictures.pixels(original, shape[:2], shape[2], settings.resize) for original in originals]

    samples = published(train_labels, test_labels)
    return Raw(description, samples, shape, np.full(len(samples), max(height, width) / min(height, width)), take)


def _pictures(description: Pictures, entries: Iterator[index.Entry], settings: Preprocess) -> Raw:
    blocks = iter(lambda: list(islice(entries, _BLOCK)), [])  # entries take five times the memory of columns, so there are never many
    ids, labels, splits, groups, digests, problems, sizes = map(np.concatenate, zip(*(_columns(block, description.classes) for block in blocks), strict=True))
    if not (usable := problems == "").any():
        raise DarkroomError(f"{description.folder}: none of its {len(ids)} files is a picture, for example {ids[0]}: {problems[0]}.")
    alike = (sizes[usable, :2] == sizes[usable][0, :2]).all()
    height, width = sizes[usable][0, :2].tolist() if alike else (LARGEST_AUTO, LARGEST_AUTO)
    shape = (*_side(settings, height, width), _channels(settings, sizes[:, 2].max().item()))

    def pixels(place: int) -> np.ndarray | str:
        """The picture, or why there is none."""
        if problems[place]:
            return problems[place]
        path = ids.item(place)
        try:
            contents = index.contents_of(description.folder, path)
            if index.digest(contents).encode() != digests[place]:
                raise DarkroomError(f"{description.folder / path} was changed while the pipeline ran: run `dvc repro` again.")
            return pictures.decode(contents, shape[:2], shape[2], settings.resize, settings.max_pixels)
        except pictures.Unusable as reason:
            return str(reason)

    def take(places: np.ndarray) -> list[np.ndarray | str]:
        with ThreadPoolExecutor() as decoders:
            return list(decoders.map(pixels, places.tolist()))

    return Raw(description, Samples(ids, labels, splits, groups), shape, sizes[:, :2].max(1) / np.maximum(1, sizes[:, :2].min(1)), take)


def _columns(entries: Sequence[index.Entry], classes: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Ids, labels, splits, groups, digests, problems, and sizes (height, width, channels) of some entries."""
    numbers = {name: number for number, name in enumerate(classes)}
    return (
        np.array([entry.path for entry in entries]),
        np.array([numbers[entry.label] for entry in entries]),
        np.array([entry.split or "train" for entry in entries]),
        np.array([entry.group for entry in entries]),
        np.array([entry.blake2b for entry in entries], dtype="S32"),
        np.array([entry.problem for entry in entries], dtype=object),
        np.array([(entry.height, entry.width, entry.channels) for entry in entries], dtype=np.uint32),
    )


def _side(settings: Preprocess, height: int, width: int) -> tuple[int, int]:
    """The height and width of the network's pictures, from those of the originals."""
    if settings.image_size != "auto":
        return settings.image_size, settings.image_size
    return (height, width) if max(height, width) <= LARGEST_AUTO else (LARGEST_AUTO, LARGEST_AUTO)


def _channels(settings: Preprocess, channels: int) -> int:
    return {"auto": channels, "grey": 1, "rgb": 3}[settings.color]


def decode(description: Published, folder: Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The training and the test set of `description` in `folder`: images (N, H, W, C) uint8 and labels (N,) int64 each.

    Raises ValueError with a phrase that names the file and what is wrong.
    """
    read_split = _idx_split if description.format == "idx" else _cifar_split
    train, test = (read_split(description, folder, split) for split in ("train", "test"))
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ValueError(f"the training images are {train[0].shape[1:]} (height, width, channels), the test images {test[0].shape[1:]}")
    return train, test


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, of its own shape, uint8 or int32; raises ValueError as `decode` does."""
    with path.open("rb") as file:
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _IDX_TYPES or not 1 <= start[3] <= 4:
            raise ValueError(f"{path.name} is no IDX file of bytes or of 32-bit numbers (it starts with {start.hex(' ') or 'nothing'})")
        dimensions = file.read(4 * start[3])
        if len(dimensions) < 4 * start[3]:
            raise ValueError(f"{path.name} is truncated: it ends within its header")
        shape = tuple(np.frombuffer(dimensions, dtype=">u4").tolist())
        dtype, count = _IDX_TYPES[start[2]], math.prod(shape)
        expected, found = file.tell() + count * dtype.itemsize, path.stat().st_size
        if found != expected:
            raise ValueError(f"{path.name} {'is truncated' if found < expected else 'is too long'}: {found:,} bytes, where its header promises {expected:,}")
        return np.fromfile(file, dtype=dtype, count=count).astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _idx_split(description: Published, folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    image_file, label_file = (file.name for kind in ("images", "labels") for file in description.files if file.role == f"{split}_{kind}")
    images, labels = read_idx(folder / image_file), read_idx(folder / label_file)
    if images.dtype != np.uint8 or images.ndim != 3 or 0 in images.shape:
        raise ValueError(f"{image_file} holds no images: {images.dtype} of shape {images.shape} instead of uint8 of (count, height, width)")
    if labels.ndim == 2 and labels.shape[1]:
        labels = labels[:, 0]  # QMNIST: the class, then where the digit comes from
    if labels.ndim != 1:
        raise ValueError(f"{label_file} holds no labels: its shape is {labels.shape} instead of (count,) or (count, columns)")
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
            raise ValueError(f"{name} is no CIFAR file or truncated: {len(values):,} bytes are no multiple of {length:,}")
        records = values.reshape(-1, length)
        _check_labels(records[:, 0], len(description.classes), name)
        labels.append(records[:, 0])
        planes = records[:, 1:].reshape(-1, *_CIFAR_SHAPE)
        images.append(planes.swapaxes(2, 3) if description.transposed else planes)
    return np.ascontiguousarray(np.concatenate(images).transpose(0, 2, 3, 1)), np.concatenate(labels).astype(np.int64)


def _check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        raise ValueError(f"{name} has the label {labels[outside[0]]} at place {outside[0]:,}, but there are {classes} classes (0 to {classes - 1})")
