"""Find near duplicates: images that were shifted by a pixel, recompressed, or made slightly brighter or darker.

Such changes hardly alter the magnitudes of an image's low spatial frequencies (a shift changes only phases). So the
near duplicates of an image are among its nearest neighbours by these magnitudes. An inverted index finds the neighbours
without comparing all pairs (Jégou, Douze, Schmid, "Product quantization for nearest neighbor search", TPAMI 2011; the
library faiss), and the few candidates are compared by their pixels. docs/audits.md has the measured precision and
recall.
"""

import math
from collections.abc import Iterator, Sequence

import faiss
import numpy as np
import pandas as pd
from tqdm import tqdm

from darkroom.preprocess.packing import Pack
from darkroom.preprocess.samples import Samples

_MAX_FREQUENCY = 6  # of the descriptor, in cycles per image
_NEIGHBOURS = 10  # searched per image
_MAX_DISTANCE = 0.03  # squared distance of two descriptors (0 to 2) up to which two images are compared by their pixels
_MAX_EXACT = 20_000  # images up to which all pairs of descriptors are compared: as fast as training an index
_TRAINING = 40  # images per list of the index to train it on; faiss asks for 39
_CELL, _SHIFT = 3 / 28, 1 / 28  # of a side: cells averaged before pixels are compared, and the largest shift
_GAIN = (0.9, 1.1)  # brightness factors between the images of a pair
_BLOCK_BYTES = 2**20  # of pixels in memory at a time


def find_pairs(pack: Pack, chosen: np.ndarray, max_difference: float) -> pd.DataFrame:
    """Find pairs among the images at the indices `chosen` (n,) that differ by at most `max_difference` grey levels.

    Returns one row per pair, most similar first: first and second (indices, first < second), and difference (see
    `differences`). The table is empty if `max_difference` is 0. Memory grows by about 100 bytes per image and 8 per
    candidate pair.
    """
    base = chosen.max(initial=0) + 1
    keys = _candidates(pack, chosen, base) if max_difference and len(chosen) > 1 else np.empty(0, np.int64)
    found = [np.empty((0, 3))]
    for part in _blocks(pack, keys):
        first, second = np.divmod(part, base)
        difference = differences(pack.take(first), pack.take(second))
        found.append(np.stack([first, second, difference], axis=1)[difference <= max_difference])
    table = pd.DataFrame(np.concatenate(found), columns=["first", "second", "difference"])
    table = table.astype({"first": np.int64, "second": np.int64})
    return table.sort_values(["difference", "first", "second"], ignore_index=True)


def pair_table(pairs: pd.DataFrame, samples: Samples, classes: Sequence[str]) -> pd.DataFrame:
    """The pairs by name: first, first_split, first_label, second, second_split, second_label, difference."""
    columns = {}
    for name in ("first", "second"):
        indices = pairs[name].to_numpy()
        columns |= {
            name: samples.ids[indices],
            f"{name}_split": samples.splits[indices],
            f"{name}_label": np.array(classes)[samples.labels[indices]],
        }
    return pd.DataFrame({**columns, "difference": pairs["difference"].round(2)})


def descriptors(images: np.ndarray) -> np.ndarray:
    """Descriptors (N, D) float32 of images (N, H, W, C) uint8, of length 1, or 0 for an image of a single colour.

    Square roots of the magnitudes of the grey image's discrete Fourier transform, up to six cycles per image.
    """
    height, width = images.shape[1:3]
    grey = images.mean(3, dtype=np.float32)
    grey -= grey[:, :1, :1]  # exactly 0 if the image is of a single colour
    across = _waves(width, np.arange(min(_MAX_FREQUENCY, width // 2) + 1))
    down = _waves(height, np.arange(-min(_MAX_FREQUENCY, height // 2), min(_MAX_FREQUENCY, height // 2) + 1))
    rows = (grey @ across.real) + 1j * (grey @ across.imag)
    magnitudes = np.sqrt(np.abs(rows.swapaxes(1, 2) @ down)).reshape(len(images), -1)
    magnitudes[:, len(down.T) // 2] = 0  # the mean, which brightness changes
    lengths = np.linalg.norm(magnitudes, axis=1, keepdims=True)
    return np.divide(magnitudes, lengths, out=np.zeros_like(magnitudes), where=lengths > 0)


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Differences (N,) float64 in grey levels between paired images (N, H, W, C) uint8.

    The root mean square difference of the means over cells, which suppress compression noise. The cells are 3 x 3
    pixels in an image of 28 x 28, and in proportion otherwise. The second image is shifted (at most 1 pixel of 28) and
    scaled in brightness (at most 10 %) to fit best.
    """
    sides = first.shape[1:3]
    cells = [max(1, round(_CELL * side)) for side in sides]
    shifts = [max(1, round(_SHIFT * side)) if side > 2 else 0 for side in sides]
    counts = [(side - 2 * shift) // cell for side, shift, cell in zip(sides, shifts, cells, strict=True)]

    def at(means: np.ndarray, down: int, right: int) -> np.ndarray:
        rows, columns = (
            slice(start, start + count * cell, cell)
            for start, count, cell in zip((down, right), counts, cells, strict=True)
        )
        return means[:, rows, columns].reshape(len(means), -1)

    a, means = at(_means(first, cells), *shifts), _means(second, cells)
    best, aa = np.full(len(first), np.inf), _dot(a, a)
    for down in range(2 * shifts[0] + 1):
        for right in range(2 * shifts[1] + 1):
            b = at(means, down, right)
            ab, bb = _dot(a, b), _dot(b, b)
            gain = np.clip(ab / np.maximum(bb, 1e-9), *_GAIN)
            best = np.minimum(best, aa - 2 * gain * ab + gain**2 * bb)
    return np.sqrt(np.maximum(best, 0) / a.shape[1])


def _means(images: np.ndarray, cells: Sequence[int]) -> np.ndarray:
    """Means of the cells that start at each pixel of images (N, H, W, C): (N, H - h + 1, W - w + 1, C) float64."""
    height, width = cells
    rows = sum(images[:, start : images.shape[1] - height + 1 + start].astype(np.float32) for start in range(height))
    both = sum(rows[:, :, start : images.shape[2] - width + 1 + start] for start in range(width))
    return both / np.float64(height * width)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)


def _waves(side: int, frequencies: np.ndarray) -> np.ndarray:
    return np.exp(-2j * np.pi / side * np.outer(np.arange(side), frequencies)).astype(np.complex64)


def _candidates(pack: Pack, chosen: np.ndarray, base: int) -> np.ndarray:
    """Pairs of nearest neighbours, as keys (P,) int64: lower index * `base` + higher index."""
    index = _index(pack, chosen)
    keys = []
    for indices, vectors in _describe(pack, chosen):
        distances, neighbours = index.search(vectors, min(_NEIGHBOURS, len(chosen) - 1) + 1)
        rows, columns = np.nonzero((distances < _MAX_DISTANCE) & (neighbours >= 0))
        one, other = indices[rows], chosen[neighbours[rows, columns]]
        keys.append((np.minimum(one, other) * base + np.maximum(one, other))[one != other])
    return np.unique(np.concatenate(keys))


def _index(pack: Pack, chosen: np.ndarray) -> faiss.Index:
    """An index of the descriptors of the images at `chosen`, numbered in that order; int8 if there are many."""
    length = descriptors(pack.take(chosen[:1])).shape[1]
    if len(chosen) <= _MAX_EXACT:
        index = faiss.IndexFlatL2(length)
    else:
        lists = min(int(4 * np.sqrt(len(chosen))), len(chosen) // _TRAINING)
        residuals = False  # they do not improve recall, and faiss would keep a copy of its training data
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatL2(length), length, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_L2, residuals
        )
        subset = chosen[:: len(chosen) // (_TRAINING * lists)]
        rows = (vector for _, vectors in _describe(pack, subset) for vector in vectors)
        index.train(np.fromiter(rows, np.dtype((np.float32, length)), len(subset)))
        index.nprobe = 8  # lists searched per query
    for _, vectors in _describe(pack, chosen):
        index.add(vectors)
    return index


def _describe(pack: Pack, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield blocks of the indices `chosen` with their descriptors."""
    with tqdm(total=len(chosen), desc="near duplicates", unit="image", leave=False, disable=None) as bar:
        for indices in _blocks(pack, chosen):
            yield indices, descriptors(pack.take(indices))
            bar.update(len(indices))


def _blocks(pack: Pack, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows, of one or two images each, in blocks that fit in memory."""
    step = max(1, _BLOCK_BYTES // math.prod(pack.shape))
    return (rows[start : start + step] for start in range(0, len(rows), step))
