import numpy as np
import pytest

from darkroom.preprocess import groups
from darkroom.preprocess.samples import Samples


def make(*rows: tuple[str, int, str]) -> Samples:
    """Samples of (split, label, group)."""
    splits, labels, names = zip(*rows, strict=True)
    return Samples(np.arange(len(rows)).astype(str), np.array(labels), np.array(splits), np.array(names))


def test_a_group_with_most_of_a_split_or_class_is_found():
    samples = make(
        *[("train", 0, "p1")] * 3, *[("train", 1, "p2")] * 3, *[("val", 0, "p3")] * 3, ("val", 1, "p4"), ("test", 1, "")
    )
    table = groups.dominant(samples, ("cat", "dog"))
    assert table.to_dict("records") == [
        {"group": "p3", "of": "split", "name": "val", "images": 3, "total": 4, "fraction": 0.75},
        {"group": "p2", "of": "class", "name": "dog", "images": 3, "total": 5, "fraction": 0.6},
    ]
    assert ["'p3'" in line and "75 %" in line for line in groups.warnings(table)] == [True, False]


@pytest.mark.parametrize("name", ["", "p1"])
def test_images_without_group_single_images_and_removed_ones_do_not_count(name: str):
    samples = make(("train", 0, ""), ("train", 0, ""), ("train", 1, name), ("test", 1, "p2"), ("", 1, "p2"))
    assert groups.dominant(samples, ("cat", "dog")).empty
