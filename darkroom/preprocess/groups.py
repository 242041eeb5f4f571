"""Find groups, such as the images of one person, that take most of a split or of a class."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from darkroom.core.arrays import SPLITS
from darkroom.core.spelling import counted
from darkroom.preprocess.samples import Samples

MAX_FRACTION = 0.5  # of a split or class; a larger group decides its results


def dominant(samples: Samples, classes: Sequence[str]) -> pd.DataFrame:
    """Groups with more than half of the images of a split, or of a class in all splits.

    Columns: group, of ("split" or "class"), name (of the split or class), images, total (both int) and fraction.
    """
    rows, has_group = [], samples.groups != ""
    for kind, name, chosen in _parts(samples, classes) if has_group.any() else ():
        groups, counts = np.unique(samples.groups[chosen & has_group], return_counts=True)
        total = int(chosen.sum())
        for group, count in zip(groups.tolist(), counts.tolist(), strict=True):
            if count > MAX_FRACTION * total and total > 1:
                rows.append((group, kind, name, count, total, round(count / total, 4)))
    return pd.DataFrame(rows, columns=["group", "of", "name", "images", "total", "fraction"])


def warnings(table: pd.DataFrame) -> list[str]:
    """A line for each row of the result of `dominant`."""
    return [
        f"The group {row.group!r} has {100 * row.fraction:.0f} % of the {row.of} {row.name} ({row.images} of "
        f"{counted(row.total, 'example')}): results there say little about other groups. Add examples of other groups."
        for row in table.itertuples(index=False)
    ]


def _parts(samples: Samples, classes: Sequence[str]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Kind, name and mask (N,) bool of each split and class."""
    for split in SPLITS:
        yield "split", split, samples.splits == split
    kept = samples.splits != ""
    for label, name in enumerate(classes):
        yield "class", name, kept & (samples.labels == label)
