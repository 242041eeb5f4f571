"""Pictures that are nearly the same: moved by a pixel, compressed anew, a little brighter or darker.

Such changes hardly alter the magnitudes of a picture's low spatial frequencies (moving a picture changes phases alone), so a
picture's near duplicates are among its nearest neighbours by them. An inverted index finds those without comparing all
with all (Jégou, Douze, Schmid, "Product quantization for nearest neighbor search", TPAMI 2011; the library faiss); the few
candidates are then compared by their pixels. docs/audits.md has the measured precision and recall.
"""

import math
from collections.abc import Iterator, Sequence

import faiss
import numpy as np
import pandas as pd
from tqdm import tqdm

from darkroom.preprocess.packing import Pack
from darkroom.preprocess.samples import Samples

_FREQUENCIES = 6  # cycles a picture, of the descriptor: up to so many
_NEIGHBOURS = 10  # of each picture that are looked at
_NEAR = 0.03  # squared distance of two descriptors (0 to 2) up to which two pictures are compared
_EXACT = 20_000  # pictures up to which each descriptor is compared with all: it takes no longer than fitting an index
_TRAINING = 40  # pictures that each list of the index is fitted to; faiss asks for 39
_CELL, _MOVE = (
    3 / 28,
    1 / 28,
)  # of a side: what is averaged before pixels are compared, and how far a picture may have moved
_GAIN = (0.9, 1.1)  # within which one picture may be brighter than the other
_BLOCK_BYTES = 2**20  # of pixels that are described or compared at a time


def near(pack: Pack, chosen: np.ndarray, most: float) -> pd.DataFrame:
    """Pairs among the pictures at the places `chosen` (n,) that differ by at most `most` grey levels, the nearest first.

    A row a pair: first, second (places, first < second), difference (see `differences`). None where `most` is 0. Memory
    grows by about 100 bytes a picture, and 8 a candidate pair.
    """
    base = chosen.max(initial=0) + 1
    keys = _candidates(pack, chosen, base) if most and len(chosen) > 1 else np.empty(0, np.int64)
    found = [np.empty((0, 3))]
    for part in _parts(pack, keys):
        first, second = np.divmod(part, base)
        difference = differences(pack.take(first), pack.take(second))
        found.append(np.stack([first, second, difference], axis=1)[difference <= most])
    table = pd.DataFrame(np.concatenate(found), columns=["first", "second", "difference"]).astype(
        {"first": np.int64, "second": np.int64}
    )
    return table.sort_values(["difference", "first", "second"], ignore_index=True)


def described(pairs: pd.DataFrame, samples: Samples, classes: Sequence[str]) -> pd.DataFrame:
    """The pairs for a person to read: first, first_split, first_label, second, second_split, second_label, difference."""
    columns = {}
    for name in ("first", "second"):
        places = pairs[name].to_numpy()
        columns |= {
            name: samples.ids[places],
            f"{name}_split": samples.splits[places],
            f"{name}_label": np.array(classes)[samples.labels[places]],
        }
    return pd.DataFrame({**columns, "difference": pairs["difference"].round(2)})


def descriptors(images: np.ndarray) -> np.ndarray:
    """Of images (N, H, W, C) uint8: (N, D) float32 of length 1, or 0 where a picture is of one colour.

    The square roots of the magnitudes of the discrete Fourier transform of the grey picture at up to six cycles a picture.
    """
    height, width = images.shape[1:3]
    grey = images.mean(3, dtype=np.float32)
    grey -= grey[:, :1, :1]  # exactly 0 where the picture is of one colour
    across = _waves(width, np.arange(min(_FREQUENCIES, width // 2) + 1))
    down = _waves(height, np.arange(-min(_FREQUENCIES, height // 2), min(_FREQUENCIES, height // 2) + 1))
    rows = (grey @ across.real) + 1j * (grey @ across.imag)
    magnitudes = np.sqrt(np.abs(rows.swapaxes(1, 2) @ down)).reshape(len(images), -1)
    magnitudes[:, len(down.T) // 2] = 0  # the mean, which brightness changes
    lengths = np.linalg.norm(magnitudes, axis=1, keepdims=True)
    return np.divide(magnitudes, lengths, out=np.zeros_like(magnitudes), where=lengths > 0)


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far the images (N, H, W, C) uint8 are apart, a pair a row: (N,) float64 grey levels.

    The root mean square difference of their means over cells of 3 x 3 pixels of 28 (so that compression counts little), with
    the second moved and brightened or darkened to fit best: by at most a pixel of 28, by at most a tenth.
    """
    sides = first.shape[1:3]
    cells = [max(1, round(_CELL * side)) for side in sides]
    moves = [max(1, round(_MOVE * side)) if side > 2 else 0 for side in sides]
    counts = [(side - 2 * move) // cell for side, move, cell in zip(sides, moves, cells, strict=True)]

    def at(means: np.ndarray, down: int, right: int) -> np.ndarray:
        rows, columns = (
            slice(start, start + count * cell, cell)
            for start, count, cell in zip((down, right), counts, cells, strict=True)
        )
        return means[:, rows, columns].reshape(len(means), -1)

    a, means = at(_means(first, cells), *moves), _means(second, cells)
    best, aa = np.full(len(first), np.inf), _dot(a, a)
    for down in range(2 * moves[0] + 1):
        for right in range(2 * moves[1] + 1):
            b = at(means, down, right)
            ab, bb = _dot(a, b), _dot(b, b)
            gain = np.clip(ab / np.maximum(bb, 1e-9), *_GAIN)
            best = np.minimum(best, aa - 2 * gain * ab + gain**2 * bb)
    return np.sqrt(np.maximum(best, 0) / a.shape[1])


def _means(images: np.ndarray, cells: Sequence[int]) -> np.ndarray:
    """The mean of the cell that begins at each pixel of images (N, H, W, C): (N, H - height + 1, W - width + 1, C) float64."""
    height, width = cells
    rows = sum(images[:, start : images.shape[1] - height + 1 + start].astype(np.float32) for start in range(height))
    both = sum(rows[:, :, start : images.shape[2] - width + 1 + start] for start in range(width))
    return both / np.float64(height * width)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)


def _waves(side: int, frequencies: np.ndarray) -> np.ndarray:
    return np.exp(-2j * np.pi / side * np.outer(np.arange(side), frequencies)).astype(np.complex64)


def _candidates(pack: Pack, chosen: np.ndarray, base: int) -> np.ndarray:
    """Pairs of places, of which one is among the other's nearest neighbours by their descriptors: (P,) int64, lower place * `base` + higher place."""
    index = _index(pack, chosen)
    keys = []
    for places, vectors in _described(pack, chosen):
        distances, neighbours = index.search(vectors, min(_NEIGHBOURS, len(chosen) - 1) + 1)
        rows, columns = np.nonzero((distances < _NEAR) & (neighbours >= 0))
        one, other = places[rows], chosen[neighbours[rows, columns]]
        keys.append((np.minimum(one, other) * base + np.maximum(one, other))[one != other])
    return np.unique(np.concatenate(keys))


def _index(pack: Pack, chosen: np.ndarray) -> faiss.Index:
    """The descriptors of the pictures at `chosen`, 8 bits a number, numbered in that order."""
    length = descriptors(pack.take(chosen[:1])).shape[1]
    if len(chosen) <= _EXACT:
        index = faiss.IndexFlatL2(length)
    else:
        lists = min(int(4 * np.sqrt(len(chosen))), len(chosen) // _TRAINING)
        residuals = False  # they find no more, and faiss would hold a copy of all that it is trained on
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatL2(length), length, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_L2, residuals
        )
        some = chosen[:: len(chosen) // (_TRAINING * lists)]
        rows = (vector for _, vectors in _described(pack, some) for vector in vectors)
        index.train(np.fromiter(rows, np.dtype((np.float32, length)), len(some)))
        index.nprobe = 8  # lists that are searched for a picture
    for _, vectors in _described(pack, chosen):
        index.add(vectors)
    return index


def _described(pack: Pack, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some of the places `chosen` at a time, and their pictures' descriptors."""
    with tqdm(total=len(chosen), desc="near duplicates", unit="picture", leave=False, disable=None) as bar:
        for places in _parts(pack, chosen):
            yield places, descriptors(pack.take(places))
            bar.update(len(places))


def _parts(pack: Pack, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Some of the rows at a time, each of a picture or two."""
    step = max(1, _BLOCK_BYTES // math.prod(pack.shape))
    return (rows[start : start + step] for start in range(0, len(rows), step))
