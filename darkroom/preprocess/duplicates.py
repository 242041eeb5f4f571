"""Find near duplicates: images that are copies of each other, apart from the changes that `likeness` explains.

`neighbours` finds candidates, which are compared by their pixels. docs/audits.md has the measured precision and recall.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from darkroom.core.processor import cores
from darkroom.preprocess import likeness, neighbours
from darkroom.preprocess.neighbours import Neighbours, blocks
from darkroom.preprocess.packing import Pack
from darkroom.preprocess.samples import Samples

_DISTINCT = 0.43  # see `_limits`
_WORKERS = 8  # threads that compare, at most: each needs about 12 MB
_CERTAIN = 0.02  # a smaller difference needs no comparison with other neighbours


def find_pairs(pack: Pack, chosen: np.ndarray, max_difference: float, flip: bool = False) -> pd.DataFrame:
    """Find near duplicates among the images at the indices `chosen` (n,), and mirrored ones if `flip` is true.

    A pair differs by at most `max_difference` (see `likeness.differences`), and by much less than either image differs
    from its other neighbours: all images of a class may be alike.

    Returns one row per pair, most similar first: first and second (indices, first < second), difference, and mirrored
    (bool). The table is empty if `max_difference` is 0.
    """
    if not max_difference or len(chosen) < 2:
        return _compare(pack, np.empty((0, 2), np.int64))
    found = Neighbours(pack, chosen)
    parts = [_compare(pack, found.candidates(mirrored), mirrored) for mirrored in (False, True)[: 1 + flip]]
    table = pd.concat(parts, ignore_index=True)
    similar = table[table["difference"] <= max_difference]
    nearest = pd.DataFrame(found.nearest(np.unique(similar[["first", "second"]])), columns=["first", "second"])
    new = ~pd.MultiIndex.from_frame(nearest).isin(pd.MultiIndex.from_frame(parts[0][["first", "second"]]))
    table = pd.concat([table, _compare(pack, nearest[new].to_numpy())], ignore_index=True)
    table = table.sort_values(["difference", "first", "second", "mirrored"], ignore_index=True)
    table = table.drop_duplicates(["first", "second"])
    limits = _limits(table, max_difference, chosen.max() + 1)
    limit = np.minimum(limits[table["first"]], limits[table["second"]])
    return table[table["difference"] <= limit].reset_index(drop=True)


def pair_table(pairs: pd.DataFrame, samples: Samples, classes: Sequence[str]) -> pd.DataFrame:
    """The pairs by name: first, first_split, first_label, second, second_split, second_label, difference, mirrored.

    The label of an unlabelled image is empty.
    """
    columns, titles = {}, np.array([*classes, ""])  # NO_LABEL, -1, is the last one
    for name in ("first", "second"):
        indices = pairs[name].to_numpy()
        columns |= {
            name: samples.ids[indices],
            f"{name}_split": samples.splits[indices],
            f"{name}_label": titles[samples.labels[indices]],
        }
    return pd.DataFrame({**columns, "difference": pairs["difference"].round(4), "mirrored": pairs["mirrored"]})


def by_name(table: pd.DataFrame) -> pd.DataFrame:
    """The result of `pair_table` with the lower id first, and in an order that depends on names only.

    That of the dataset may follow the classes, and so reveal the class of an unlabelled image.
    """
    swapped, names = table["first"] > table["second"], ["", "_split", "_label"]
    first, second = [f"first{name}" for name in names], [f"second{name}" for name in names]
    ordered = table.copy()
    ordered.loc[swapped, first + second] = table.loc[swapped, second + first].to_numpy()
    return ordered.sort_values(["difference", "first", "second"], ignore_index=True)


def _compare(pack: Pack, pairs: np.ndarray, mirrored: bool = False) -> pd.DataFrame:
    """The pairs (P, 2) of indices as a table: first, second, difference, mirrored."""

    def maps(indices: np.ndarray, flip: bool) -> np.ndarray:
        known, places = np.unique(indices, return_inverse=True)  # an image is in several pairs
        images = pack.take(known)
        return likeness.maps(images[:, :, ::-1] if flip else images)[places]

    def measure(block: np.ndarray) -> np.ndarray:
        return likeness.compare(maps(block[:, 0], False), maps(block[:, 1], mirrored))

    with ThreadPoolExecutor(min(cores(), _WORKERS)) as workers:
        found = [np.empty(0), *workers.map(measure, blocks(pairs, pack.shape))]
    columns = {"first": pairs[:, 0], "second": pairs[:, 1], "difference": np.concatenate(found)}
    return pd.DataFrame({**columns, "mirrored": np.full(len(pairs), mirrored)})


def _limits(table: pd.DataFrame, max_difference: float, count: int) -> np.ndarray:
    """The difference up to which the neighbours of each image are its copies: (count,) float64.

    In order of difference, the copies end at the last neighbour that differs at most 0.43 times as much as the next
    one. So several copies of an image are found, but not one of many similar images. An image in a table of fewer
    than `neighbours.COUNT` pairs has no others.
    """
    table = table.sort_values("difference").drop_duplicates(["first", "second"])
    image = np.concatenate([table["first"], table["second"]])
    difference = np.tile(table["difference"].to_numpy(), 2)
    order = np.lexsort([difference, image])
    image, difference = image[order], difference[order]
    following = np.where(np.bincount(image, minlength=count) < neighbours.COUNT, np.inf, 0.0)[image]
    is_same = image[1:] == image[:-1]
    following[:-1][is_same] = difference[1:][is_same]
    ends = (difference <= max_difference) & (difference <= _DISTINCT * following)
    limits = np.full(count, min(_CERTAIN, max_difference))
    np.maximum.at(limits, image[ends], difference[ends])
    return limits
