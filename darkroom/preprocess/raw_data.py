"""Read a dataset as fetched: its samples, and its pixels in blocks."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from darkroom.core.arrays import TEXT, UNLABELLED
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.datasets import descriptions, index
from darkroom.datasets.descriptions import ImageFolder, Published, TextFolder
from darkroom.datasets.formats import decode
from darkroom.inputs import image, resizing
from darkroom.preprocess import intensities, sizes
from darkroom.preprocess.config import PreprocessConfig
from darkroom.preprocess.intensities import NO_INTENSITIES, Intensities
from darkroom.preprocess.samples import NO_LABEL, Samples, published_samples

_BLOCK = 1024  # images decoded, or index entries read, at a time; fewer images if they have more bytes than this
_BLOCK_BYTES = 2**26
_COUNTED = 64  # images whose values are counted at a time; the counts of each take 0.5 MB
_FETCH_AGAIN = "run `dvc repro --force fetch` to fetch the raw files again"


@dataclass(frozen=True)
class Raw:
    """A dataset as fetched; its images are decoded on demand."""

    description: Published | ImageFolder
    samples: Samples
    shape: tuple[int, int, int]  # height, width, channels of the decoded images
    size: tuple[int, int]  # height, width of a network's inputs: the centres of the decoded images
    aspects: np.ndarray  # (N,) float64: longer side of the original / shorter side
    take: Callable[[np.ndarray], list[np.ndarray | str]]  # indices (n,) -> (H, W, C) uint8, or why not decodable
    intensities: Intensities = NO_INTENSITIES  # of images of more than 8 bits
    size_notice: str = ""  # how preprocess.image_size = auto chose the size

    def blocks(self, undecodable: dict[int, str]) -> Iterator[np.ndarray]:
        """All images in the order of the samples, in blocks (n, H, W, C) uint8.

        An image that cannot be decoded is black, and its index and the reason are added to `undecodable`.
        """
        size = max(1, min(_BLOCK, _BLOCK_BYTES // math.prod(self.shape)))
        with tqdm(total=len(self.samples), desc="decode", unit="image", leave=False, disable=None) as bar:
            for start in range(0, len(self.samples), size):
                block = self.take(np.arange(start, min(start + size, len(self.samples))))
                undecodable |= {number: reason for number, reason in enumerate(block, start) if isinstance(reason, str)}
                yield np.stack([np.zeros(self.shape, np.uint8) if isinstance(one, str) else one for one in block])
                bar.update(len(block))


def describe(folder: str | Path) -> Published | ImageFolder | TextFolder:
    """The description of the dataset in the folder that the stage fetch wrote; raise DarkroomError as `read` does."""
    path = Path(folder) / descriptions.DESCRIPTION
    try:
        return descriptions.parse(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError as error:
        raise DarkroomError(f"{error.filename} is missing: {_FETCH_AGAIN}.") from None
    except ValueError as error:
        raise DarkroomError(f"{folder}: {error}: {_FETCH_AGAIN}.") from None


def read(folder: str | Path, settings: PreprocessConfig) -> Raw:
    """Open the raw files, or the index of an image folder, that the stage fetch wrote to `folder`.

    Published files are held in memory; of an image folder, only the samples and 48 bytes per image are. Raises
    DarkroomError if files are missing or invalid; `take` raises it if an image changed after it was indexed.
    """
    folder = Path(folder)
    description = describe(folder)
    try:
        if isinstance(description, ImageFolder):
            return _image_folder(description, index.read(folder), settings)
        return _published(description, folder, settings)
    except FileNotFoundError as error:
        raise DarkroomError(f"{error.filename} is missing: {_FETCH_AGAIN}.") from None
    except ValueError as error:
        raise DarkroomError(f"{folder}: {error}: {_FETCH_AGAIN}.") from None


def _published(description: Published, folder: Path, settings: PreprocessConfig) -> Raw:
    (train, train_labels), (test, test_labels) = decode(description, folder)
    height, width, channels = train.shape[1:]
    size, size_notice = sizes.choose(settings.image_size, np.array([(height, width)]))
    shape = (*resizing.uncropped(size, settings.crop_fraction), _channels(settings, channels))

    def take(indices: np.ndarray) -> list[np.ndarray | str]:
        chosen = [train[number] if number < len(train) else test[number - len(train)] for number in indices.tolist()]
        if shape == train.shape[1:]:
            return chosen
        originals = (Image.fromarray(one.squeeze(-1) if channels == 1 else one) for one in chosen)
        options = shape[:2], shape[2], settings.resize, settings.interpolation
        return [resizing.pixels(original, *options) for original in originals]

    samples = published_samples(train_labels, test_labels)
    aspects = np.full(len(samples), max(height, width) / min(height, width))
    return Raw(description, samples, shape, size, aspects, take, size_notice=size_notice)


def _image_folder(description: ImageFolder, entries: Iterator[index.Entry], settings: PreprocessConfig) -> Raw:
    columns, more = _table(entries, description.classes)
    ids, labels, splits, groups, digests, problems, originals, depths = columns
    # Unlabelled images choose neither the size nor the channels: they must not change other splits.
    labelled = splits != UNLABELLED
    has_training = (splits == "train").any()
    considered = labelled if has_training else np.ones(len(splits), dtype=bool)
    usable = considered & (problems == "")
    if not usable.any():
        what = "labelled file" if has_training else "file"
        first, total = np.argmax(considered), counted(np.count_nonzero(considered), what)
        raise DarkroomError(
            f"{description.folder}: none of its {total} is a usable image; {ids[first]}: {problems[first]}."
        )
    size, size_notice = sizes.choose(settings.image_size, originals[usable, :2])
    channels = _channels(settings, originals[usable, 2].max().item())
    shape = (*resizing.uncropped(size, settings.crop_fraction), channels)

    def read(decode: Callable[[bytes], np.ndarray], number: int) -> np.ndarray | str:
        """What `decode` makes of a file, or why it is not usable."""
        if problems[number]:
            return problems[number]
        path = ids.item(number)
        try:
            contents = index.contents_of(description.folder, path)
            if index.digest(contents).encode() == digests[number]:
                return decode(contents)
        except image.Unusable as reason:
            return str(reason)
        raise DarkroomError(f"{description.folder / path} was changed after it was indexed: run `dvc repro` again.")

    deep = np.flatnonzero(usable & (depths > 8) & np.isin(splits, ["train", UNLABELLED]))
    counts = _counts(deep, partial(read, partial(image.count_values, max_pixels=settings.max_pixels)))
    found = intensities.measure(counts, settings.intensity_range)
    options = shape[:2], channels, settings.resize, settings.max_pixels, found.range, settings.interpolation
    decoded = partial(read, lambda contents: image.decode(contents, *options))

    def take(indices: np.ndarray) -> list[np.ndarray | str]:
        with ThreadPoolExecutor() as decoders:
            return list(decoders.map(decoded, indices.tolist()))

    aspects = originals[:, :2].max(1) / np.maximum(1, originals[:, :2].min(1))
    samples = Samples(ids, labels, splits, groups, more)
    return Raw(description, samples, shape, size, aspects, take, found, size_notice)


def _counts(deep: np.ndarray, count: Callable[[int], np.ndarray | str]) -> Iterator[np.ndarray]:
    """How often each value occurs in the images at `deep` (n,), one after the other; unusable ones are left out."""
    bar = tqdm(total=len(deep), desc="measure", unit="image", leave=False, disable=None)
    with ThreadPoolExecutor() as decoders, bar:
        for start in range(0, len(deep), _COUNTED):
            block = deep[start : start + _COUNTED].tolist()
            yield from (found for found in decoders.map(count, block) if not isinstance(found, str))
            bar.update(len(block))


def _table(
    entries: Iterator[index.Entry], classes: Sequence[str]
) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
    """The result of `_columns` for all entries, and of `_other_columns`.

    Entries take five times as much memory as columns, so only one block of them exists at a time.
    """
    parts, others = [], []
    for block in iter(lambda: list(islice(entries, _BLOCK)), []):
        parts.append(_columns(block, classes))
        others.append(_other_columns(block))
    empty = [np.full(len(part[0]), "", dtype=TEXT) for part in parts]
    more = {
        name: np.concatenate([other.get(name, none) for other, none in zip(others, empty, strict=True)])
        for name in dict.fromkeys(chain.from_iterable(others))
    }
    return tuple(map(np.concatenate, zip(*parts, strict=True))), more


def _columns(entries: Sequence[index.Entry], classes: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Ids, labels, splits, groups, digests, problems, sizes (height, width, channels) and bits of the entries."""
    labels = {"": NO_LABEL} | {name: label for label, name in enumerate(classes)}
    return (
        np.array([entry.path for entry in entries], dtype=TEXT),
        np.array([labels[entry.label] for entry in entries]),
        np.array([entry.split or "train" for entry in entries]),
        np.array([entry.group for entry in entries], dtype=TEXT),
        np.array([entry.blake2b for entry in entries], dtype="S32"),
        np.array([entry.problem for entry in entries], dtype=object),
        np.array([(entry.height, entry.width, entry.channels) for entry in entries], dtype=np.uint32),
        np.array([entry.bits for entry in entries], dtype=np.uint8),
    )


def _other_columns(entries: Sequence[index.Entry]) -> dict[str, np.ndarray]:
    """The manifest's other columns of the entries, each (n,) TEXT; a value that a row lacks is empty."""
    rows = [json.loads(entry.columns) if entry.columns else {} for entry in entries]
    names = dict.fromkeys(chain.from_iterable(rows))
    return {name: np.array([row.get(name, "") for row in rows], dtype=TEXT) for name in names}


def _channels(settings: PreprocessConfig, channels: int) -> int:
    return {"auto": channels, "grey": 1, "rgb": 3}[settings.color]
