"""The examples of a batch to label: the choices of a strategy without near duplicates of each other."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from darkroom.acquire.strategies import Choice
from darkroom.preprocess.duplicates import find_pairs

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
    choices: Iterator[Choice], count: int, read: Callable[[np.ndarray], np.ndarray], flip: bool
) -> tuple[list[Choice], int]:
    """The first `count` choices without those that are near duplicates of an earlier one, and the number left out.

    `read` gives the images (n, H, W, C) uint8 at indices (n,) of the pool. With `flip`, mirrored copies are near
    duplicates too. There are fewer than `count` if all others are near duplicates.
    """
    found: list[Choice] = []
    with tqdm(total=count, desc="choose", unit="example", leave=False, disable=None) as bar:
        while True:
            wanted = 2 * len(found) if found else count + max(_SPARE, count // 10)
            for choice in itertools.islice(choices, wanted - len(found)):
                found.append(choice)
                bar.update(len(found) <= count)
            kept = _distinct(read(np.array([choice.index for choice in found])), flip)
            if kept.sum() >= count or len(found) < wanted:
                break
    numbers = np.flatnonzero(kept)[:count].tolist()
    examined = numbers[-1] + 1 if len(numbers) == count else len(found)
    return [found[number] for number in numbers], examined - len(numbers)


def _distinct(images: np.ndarray, flip: bool) -> np.ndarray:
    """Which images (n,) bool are no near duplicates of an earlier one that is kept."""
    kept = np.ones(len(images), bool)
    pairs = find_pairs(_Images(images), np.arange(len(images)), MAX_DIFFERENCE, flip)
    for second, first in sorted(zip(pairs["second"].tolist(), pairs["first"].tolist(), strict=True)):
        kept[second] &= not kept[first]
    return kept
