"""Find the pairs of images that may be copies of each other, without comparing all pairs.

Small shifts, recompression, brightness and contrast hardly alter the relative magnitudes of an image's low spatial
frequencies (a shift changes only phases). So the copies of an image are among its nearest neighbours by these
magnitudes. An inverted index finds them (Jégou, Douze, Schmid, "Product quantization for nearest neighbor search",
TPAMI 2011; the library faiss).
"""

import math
from collections.abc import Iterator
from functools import cache

import faiss
import numpy as np
from tqdm import tqdm

from darkroom.preprocess.packing import Pack

COUNT = 10  # neighbours searched per image
_MAX_FREQUENCY = 4  # of a descriptor, in cycles per image
_CUTOFF = 2.5  # standard deviation of the weights of the frequencies: resizing and compression change high ones
_ZOOM = 0.94  # fraction of a side that is looked up enlarged; a little less than is left of a copy shrunk by 5 %
_MAX_DISTANCE = 0.0075  # squared distance (0 to 2) of two descriptors up to which they may be of copies
_MAX_EXACT = 20_000  # images up to which all pairs of descriptors are compared: as fast as training an index
_TRAINING = 40  # images per list of the index to train it on; faiss asks for 39
_LANES = 16  # faiss compares int8 descriptors much faster if their length is a multiple of it
_BLOCK, _BLOCK_BYTES = 500, 2**20  # rows at a time, and bytes of their pixels


class Neighbours:
    """The nearest neighbours of each of the images at the indices `chosen` (n,) of a pack.

    Pairs are arrays (P, 2) int64 of indices, lower first, each pair once. Memory grows by about 60 bytes per image and
    16 per pair.
    """

    def __init__(self, pack: Pack, chosen: np.ndarray):
        self._pack, self._chosen = pack, chosen
        self._index = _index(pack, chosen)

    def candidates(self, mirrored: bool = False) -> np.ndarray:
        """The pairs (P, 2) that may be copies, or mirrored copies, of each other.

        An image and a zoomed copy, or a mirrored copy, are looked up. Neighbours of the copy must be nearer to it than
        the image itself is: if the image hardly changes, its copies are its own neighbours.
        """
        found = []
        for indices, images in self._read(self._chosen, "near duplicates"):
            plain = descriptors(images)
            copies = descriptors(images[:, :, ::-1]) if mirrored else descriptors(images, _ZOOM)
            changes = ((copies - plain) ** 2).sum(1, keepdims=True)
            found.append(self._search(indices, copies, np.minimum(changes, _MAX_DISTANCE)))
            if not mirrored:
                found.append(self._search(indices, plain, _MAX_DISTANCE))
        return _unique(found)

    def nearest(self, indices: np.ndarray) -> np.ndarray:
        """The pairs (P, 2) of the images at `indices` (m,) and their nearest neighbours, at any distance."""
        read = self._read(indices, "neighbours")
        return _unique([self._search(some, descriptors(images), np.inf) for some, images in read])

    def _search(self, indices: np.ndarray, vectors: np.ndarray, limit: np.ndarray | float) -> np.ndarray:
        """Pairs of the `indices` (m,) and neighbours of the `vectors` (m, D) nearer than `limit`, (m, 1) or one."""
        distances, neighbours = self._index.search(vectors, min(COUNT + 1, len(self._chosen)))
        rows, columns = np.nonzero((distances < limit) & (neighbours >= 0))
        pairs = np.stack([indices[rows], self._chosen[neighbours[rows, columns]]], axis=1)
        return pairs[pairs[:, 0] != pairs[:, 1]]

    def _read(self, indices: np.ndarray, what: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield blocks of the indices with their images."""
        with tqdm(total=len(indices), desc=what, unit="image", leave=False, disable=None) as bar:
            for some in blocks(indices, self._pack.shape):
                yield some, self._pack.take(some)
                bar.update(len(some))


def descriptors(images: np.ndarray, zoom: float = 1.0) -> np.ndarray:
    """Descriptors (N, D) float32 of images (N, H, W, C) uint8, of length 1, or 0 for an image of a single colour.

    Square roots of the magnitudes of the grey image's discrete Fourier transform, up to four cycles per image, with
    lower weights for higher frequencies. With `zoom`, they are of the centre, this fraction of a side, enlarged to the
    size of the image. Zeros at the end make D a multiple of _LANES.
    """
    height, width = images.shape[1:3]
    channels = images.shape[3]
    # images.mean(3), identical bit for bit, takes ten times as long
    grey = images.astype(np.float32) @ np.ones(channels, np.float32) / channels
    grey -= grey[:, :1, :1]  # exactly 0 if the image is of a single colour
    most_right, most_down = (min(_MAX_FREQUENCY, side // 2) for side in (width, height))
    right, down = np.arange(most_right + 1), np.arange(-most_down, most_down + 1)
    waves = (grey @ _waves(width, 0, most_right, zoom)).swapaxes(1, 2) @ _waves(height, -most_down, most_down, zoom)
    weights = np.exp(-0.5 * (right[:, None] ** 2 + down**2) / _CUTOFF**2)
    weights[(right[:, None] == 0) & (down == 0)] = 0  # the mean, which brightness changes
    magnitudes = (np.sqrt(np.abs(waves)) * weights.astype(np.float32)).reshape(len(images), -1)
    lengths = np.linalg.norm(magnitudes, axis=1, keepdims=True)
    padded = np.zeros((len(images), -(-magnitudes.shape[1] // _LANES) * _LANES), np.float32)
    np.divide(magnitudes, lengths, out=padded[:, : magnitudes.shape[1]], where=lengths > 0)
    return padded


@cache
def _waves(side: int, lowest: int, highest: int, zoom: float) -> np.ndarray:
    """Waves (side, F) complex64 of the frequencies `lowest` to `highest`.

    With `zoom`, they stand on the pixels that are interpolated for the enlarged image.
    """
    waves = np.exp(-2j * np.pi / side * np.outer(np.arange(side), np.arange(lowest, highest + 1)))
    centre = (side - 1) / 2
    sources = centre + (np.arange(side) - centre) * zoom
    weights = np.maximum(0, 1 - np.abs(sources - np.arange(side)[:, None]))  # of each pixel, in each enlarged one
    return (weights @ waves).astype(np.complex64)


def _unique(pairs: list[np.ndarray]) -> np.ndarray:
    """Each pair once, lower index first."""
    ordered = np.sort(np.concatenate([np.empty((0, 2), np.int64), *pairs]), axis=1)
    base = ordered.max(initial=0) + 1
    return np.stack(np.divmod(np.unique(ordered[:, 0] * base + ordered[:, 1]), base), axis=1)


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
        rows = (vector for some in blocks(subset, pack.shape) for vector in descriptors(pack.take(some)))
        index.train(np.fromiter(rows, np.dtype((np.float32, length)), len(subset)))
        index.nprobe = 8  # lists searched per query
    for some in blocks(chosen, pack.shape):
        index.add(descriptors(pack.take(some)))
    return index


def blocks(rows: np.ndarray, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Yield the rows, each of one or two images of the `shape` (H, W, C), in blocks that fit in memory."""
    step = max(1, min(_BLOCK, _BLOCK_BYTES // math.prod(shape)))
    return (rows[start : start + step] for start in range(0, len(rows), step))
