import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.crossval import folds

EXAMPLES = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["", "", "p1", "p2", "p3", "p4"])), max_size=60)


def make(rows: list[tuple[int, str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, labels and groups of examples."""
    labels, groups = (np.array([row[column] for row in rows], dtype) for column, dtype in ((0, np.int64), (1, "<U2")))
    return np.array([f"image {index}" for index in range(len(rows))], dtype="<U9"), labels, groups


@settings(max_examples=100, deadline=None)
@given(EXAMPLES, st.integers(2, 5), st.integers(0, 3))
def test_groups_are_whole_and_the_order_does_not_matter(rows: list[tuple[int, str]], count: int, seed: int):
    ids, labels, groups = make(rows)
    fold = folds.assign(ids, labels, groups, count, seed)
    assert fold.dtype == np.int64 and ((fold >= 0) & (fold < count)).all()
    for group in set(groups.tolist()) - {""}:
        assert len(set(fold[groups == group].tolist())) == 1
    units = len(set(groups.tolist()) - {""}) + (groups == "").sum()
    if units >= count and (groups == "").sum() in (0, len(ids)):
        assert set(fold.tolist()) == set(range(count))
    order = np.random.default_rng(0).permutation(len(ids))
    assert np.array_equal(folds.assign(ids[order], labels[order], groups[order], count, seed), fold[order])


@settings(max_examples=100, deadline=None)
@given(EXAMPLES, st.integers(2, 5), st.sampled_from(["none", "empty"]))
def test_classes_and_folds_are_even_without_groups(rows: list[tuple[int, str]], count: int, given_groups: str):
    ids, labels, groups = make(rows)
    fold = folds.assign(ids, labels, None if given_groups == "none" else np.full(len(groups), ""), count, 0)
    for chosen in (labels >= 0, *(labels == label for label in range(5))):
        sizes = np.bincount(fold[chosen], minlength=count)
        assert sizes.max() - sizes.min() <= 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(2, 4))
def test_groups_of_one_class_and_size_are_even_too(classes: list[int], count: int):
    rows = [(label, f"g{group}") for group, label in enumerate(classes) for _ in range(3)]
    labels, groups = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    fold = folds.assign(np.arange(len(rows)).astype(str), labels, groups, count, 0)
    for label in range(4):
        sizes = np.bincount(fold[labels == label], minlength=count)
        assert sizes.max() - sizes.min() <= 3


def test_single_examples_fill_what_the_groups_leave():
    rows = [(0, "p1")] * 4 + [(1, "p2")] * 4 + [(0, "")] * 4 + [(1, "")] * 4
    ids, labels, groups = make(rows)
    fold = folds.assign(ids, labels, groups, 2, 0)
    assert [np.bincount(fold[labels == label]).tolist() for label in (0, 1)] == [[4, 4], [4, 4]]


def test_rare_classes_are_spread():
    """Five classes of six images beside a large one: each has two images in each of three folds."""
    labels = np.repeat(range(6), [6, 6, 6, 6, 6, 270])
    ids = np.array([f"image {index}" for index in range(300)])
    fold = folds.assign(ids, labels, None, 3, 0)
    assert all(np.bincount(fold[labels == label]).tolist() == [2, 2, 2] for label in range(5))


@pytest.mark.parametrize("groups", [None, np.repeat([f"g{index}" for index in range(25)], 4)])
def test_folds_are_seeded(groups: np.ndarray | None):
    ids, labels = np.array([f"image {index}" for index in range(100)]), np.arange(100) % 2
    assert not np.array_equal(folds.assign(ids, labels, groups, 3, 0), folds.assign(ids, labels, groups, 3, 1))
