"""The examples of a batch to label: the choices of a strategy without near duplicates of each other."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from darkroom.acquire.strategies import Choice
from darkroom.preprocess import duplicates, text_duplicates

MAX_DIFFERENCE = 0.15  # of near duplicates, the default of preprocess.clean.near_leak_difference (docs/audits.md)
_SPARE = 10  # choices more than needed, at least, that are compared with each other at a time


class _Images:
    """Images (N, H, W, C) uint8, as the search of near duplicates reads them."""

    def __init__(self, images: np.ndarray):
        self._images, self.shape = images, images.shape[1:]

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The images (n, H, W, C) uint8 at `indices` (n,)."""
        return np.array(self._images[indices])


def interleaved(first: Iterator[Choice], second: Iterator[Choice], fraction: float) -> Iterator[Choice]:
    """The choices of both; of the first n, about this fraction are of the second. If one ends, the other goes on."""
    taken = 0
    for number in itertools.count(1):
        is_second = round(number * fraction) > taken
        source, other = (second, first) if is_second else (first, second)
        choice = next(source, None)
        if choice is None:
            yield from other
            return
        taken += is_second
        yield choice


def fill(
    choices: Iterator[Choice], count: int, distinct: Callable[[np.ndarray], np.ndarray]
) -> tuple[list[Choice], int]:
    """The first `count` choices without those that are near duplicates of an earlier one, and the number left out.

    `distinct` says which of the examples at indices (n,) of the pool are not near duplicates of an earlier one that is
    kept: (n,) bool. There are fewer than `count` if all others are near duplicates.
    """
    found: list[Choice] = []
    with tqdm(total=count, desc="choose", unit="example", leave=False, disable=None) as bar:
        while True:
            wanted = 2 * len(found) if found else count + max(_SPARE, count // 10)
            for choice in itertools.islice(choices, wanted - len(found)):
                found.append(choice)
                bar.update(len(found) <= count)
            kept = distinct(np.array([choice.index for choice in found]))
            if kept.sum() >= count or len(found) < wanted:
                break
    numbers = np.flatnonzero(kept)[:count].tolist()
    examined = numbers[-1] + 1 if len(numbers) == count else len(found)
    return [found[number] for number in numbers], examined - len(numbers)


def distinct_images(images: np.ndarray, flip: bool) -> np.ndarray:
    """Which of the images (n, H, W, C) uint8 are not near duplicates: (n,) bool. With `flip`, mirrored copies are."""
    return _kept(len(images), duplicates.find_pairs(_Images(images), np.arange(len(images)), MAX_DIFFERENCE, flip))


def distinct_texts(texts: Sequence[str], _: bool) -> np.ndarray:
    """Which of n texts are not near duplicates: (n,) bool; they have no mirrored copies."""
    return _kept(len(texts), text_duplicates.find_pairs(texts, np.arange(len(texts)), MAX_DIFFERENCE))


def distinct_rows(rows: np.ndarray, _: bool) -> np.ndarray:
    """Which of the rows (n, C) float32 do not equal an earlier one: (n,) bool. Alike ones may be different clients."""
    found = np.zeros(len(rows), bool)
    found[np.unique(np.ascontiguousarray(rows).view(np.uint8), axis=0, return_index=True)[1]] = True
    return found


def _kept(count: int, pairs: pd.DataFrame) -> np.ndarray:
    """Which of `count` examples have no earlier one that is kept as a partner in `pairs`: (count,) bool."""
    kept = np.ones(count, bool)
    for second, first in sorted(zip(pairs["second"].tolist(), pairs["first"].tolist(), strict=True)):
        kept[second] &= not kept[first]
    return kept
