"""Whether the next item of each history is among the first SHOWN items."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from darkroom.core import arrays
from darkroom.recommend import histories, ranking
from darkroom.recommend.ranking import SHOWN


def hits(folder: str | Path, split: str, scores: Callable[[np.ndarray], np.ndarray], seen_items: str) -> np.ndarray:
    """(N,) bool for the histories of a split; `scores` turns some of them (n, L) into scores of all items (n, items).

    Items that `evaluate.seen_items` leaves out are not ranked.
    """
    examples = arrays.read_split(folder, split)
    left_out = histories.left_out(folder, split, seen_items)
    return ranking.in_blocks(scores, examples.inputs, np.asarray(examples.labels), left_out).hits(SHOWN)
