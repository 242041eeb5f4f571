"""A dataset as it came: its samples, and its pixels a block at a time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, index
from darkroom.datasets.descriptions import ImageFolder, Published
from darkroom.datasets.formats import DESCRIPTION, decode
from darkroom.inputs import image
from darkroom.preprocess.config import PreprocessConfig
from darkroom.preprocess.samples import Samples, published

LARGEST_AUTO = (
    64  # pixels a side of what preprocess.image_size = auto makes of larger pictures, or of pictures that differ
)
_BLOCK = 1024  # pictures decoded, or entries read, at a time


@dataclass(frozen=True)
class Raw:
    """A dataset as it came; its pictures stay where they are until they are asked for."""

    description: Published | ImageFolder
    samples: Samples
    shape: tuple[int, int, int]  # height, width, channels of the pictures that it gives
    aspects: np.ndarray  # (N,) float64: how many times one side of the original is the other, at least 1
    take: Callable[
        [np.ndarray], list[np.ndarray | str]
    ]  # the pictures at places (n,), each (H, W, C) uint8, or why it cannot be decoded

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


def read(folder: str | Path, settings: PreprocessConfig) -> Raw:
    """Opens the raw files, or the index of pictures, that the fetch stage left in `folder`.

    Of an index it holds the samples and 48 bytes more a picture; published files it holds whole. Raises DarkroomError where
    files are missing or broken, and so does `take` where a picture is no longer the one that was indexed.
    """
    folder = Path(folder)
    try:
        description = descriptions.parse((folder / DESCRIPTION).read_text(encoding="utf-8"), folder / DESCRIPTION)
        if isinstance(description, ImageFolder):
            return _pictures(description, index.read(folder), settings)
        return _published(description, folder, settings)
    except FileNotFoundError as error:
        raise DarkroomError(
            f"{error.filename} is missing: run `dvc repro --force fetch` to fetch the raw files anew."
        ) from None
    except ValueError as error:
        raise DarkroomError(f"{folder}: {error}: run `dvc repro --force fetch` to fetch the raw files anew.") from None


def _published(description: Published, folder: Path, settings: PreprocessConfig) -> Raw:
    (train, train_labels), (test, test_labels) = decode(description, folder)
    height, width, channels = train.shape[1:]
    shape = (*_side(settings, height, width), _channels(settings, channels))

    def take(places: np.ndarray) -> list[np.ndarray | str]:
        chosen = [train[place] if place < len(train) else test[place - len(train)] for place in places.tolist()]
        if shape == train.shape[1:]:
            return chosen
        originals = (Image.fromarray(image.squeeze(-1) if channels == 1 else image) for image in chosen)
        return [image.pixels(original, shape[:2], shape[2], settings.resize) for original in originals]

    samples = published(train_labels, test_labels)
    return Raw(description, samples, shape, np.full(len(samples), max(height, width) / min(height, width)), take)


def _pictures(description: ImageFolder, entries: Iterator[index.Entry], settings: PreprocessConfig) -> Raw:
    blocks = iter(
        lambda: list(islice(entries, _BLOCK)), []
    )  # entries take five times the memory of columns, so there are never many
    ids, labels, splits, groups, digests, problems, sizes = map(
        np.concatenate, zip(*(_columns(block, description.classes) for block in blocks), strict=True)
    )
    if not (usable := problems == "").any():
        raise DarkroomError(
            f"{description.folder}: none of its {len(ids)} files is a picture, for example {ids[0]}: {problems[0]}."
        )
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
                raise DarkroomError(
                    f"{description.folder / path} was changed while the pipeline ran: run `dvc repro` again."
                )
            return image.decode(contents, shape[:2], shape[2], settings.resize, settings.max_pixels)
        except image.Unusable as reason:
            return str(reason)

    def take(places: np.ndarray) -> list[np.ndarray | str]:
        with ThreadPoolExecutor() as decoders:
            return list(decoders.map(pixels, places.tolist()))

    return Raw(
        description,
        Samples(ids, labels, splits, groups),
        shape,
        sizes[:, :2].max(1) / np.maximum(1, sizes[:, :2].min(1)),
        take,
    )


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


def _side(settings: PreprocessConfig, height: int, width: int) -> tuple[int, int]:
    """The height and width of the network's pictures, from those of the originals."""
    if settings.image_size != "auto":
        return settings.image_size, settings.image_size
    return (height, width) if max(height, width) <= LARGEST_AUTO else (LARGEST_AUTO, LARGEST_AUTO)


def _channels(settings: PreprocessConfig, channels: int) -> int:
    return {"auto": channels, "grey": 1, "rgb": 3}[settings.color]
