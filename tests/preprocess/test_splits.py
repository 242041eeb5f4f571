import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from darkroom.core.errors import DarkroomError
from darkroom.preprocess.samples import Samples
from darkroom.preprocess.splits import held_out_counts, hold_out, notice

CLASS_COUNTS = st.lists(st.integers(2, 40), min_size=1, max_size=6)
FRACTIONS = st.floats(0.01, 0.99)


def make_samples(counts: list[int]) -> tuple[Samples, tuple[str, ...]]:
    """Shuffled training samples, `counts` by class, without groups."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    ids = np.array([f"train/{index:05}" for index in range(len(labels))])
    classes = tuple(f"class {label}" for label in range(len(counts)))
    return Samples(ids, labels, np.full(len(ids), "train"), np.full(len(ids), "")), classes


def held_out(samples: Samples, classes: tuple[str, ...], fraction: float = 0.2, seed: int = 0) -> set[str]:
    split = hold_out(samples, "val", fraction, classes, seed)
    return set(split.ids[split.indices("val")].tolist())


def test_largest_remainders_are_rounded_up():
    assert held_out_counts([14, 11, 13, 12], "abcd", 0.1, "val") == [
        2,
        1,
        1,
        1,
    ]  # fractions 1.4, 1.1, 1.3, 1.2; 5 in all
    assert held_out_counts([6000] * 10, "abcdefghij", 0.1, "val") == [600] * 10


def test_a_small_class_is_in_both_splits():
    assert held_out_counts([2, 100], "ab", 0.01, "val") == [1, 1]
    assert held_out_counts([2, 100], "ab", 0.99, "val") == [1, 99]


@given(CLASS_COUNTS, FRACTIONS)
def test_fractions_hold_to_within_one_and_the_total_is_as_close_as_possible(counts, fraction):
    result = held_out_counts(counts, [str(label) for label in range(len(counts))], fraction, "val")
    least = [max(1, int(count * fraction)) for count in counts]
    most = [min(count - 1, int(np.ceil(count * fraction))) for count in counts]
    assert all(
        1 <= number < count and abs(number - count * fraction) <= 1
        for number, count in zip(result, counts, strict=True)
    )
    assert sum(result) == np.clip(round(sum(counts) * fraction), sum(least), sum(most))


@settings(max_examples=50)
@given(CLASS_COUNTS, FRACTIONS, st.integers(0, 2**32 - 1))
def test_the_split_is_stratified_and_changes_nothing_else(counts, fraction, seed):
    samples, classes = make_samples(counts)
    split = hold_out(samples, "val", fraction, classes, seed)
    found = np.bincount(split.labels[split.indices("val")], minlength=len(counts)).tolist()
    assert found == held_out_counts(counts, classes, fraction, "val")
    assert set(split.splits.tolist()) == {"train", "val"}
    assert np.array_equal(split.ids, samples.ids) and np.array_equal(split.labels, samples.labels)


def test_unusable_samples_are_not_counted():
    samples, classes = make_samples([10, 10])
    unusable = np.flatnonzero(samples.labels == 0)[:6]
    split = hold_out(samples, "val", 0.5, classes, 0, unusable=unusable)
    assert set(split.splits[unusable].tolist()) == {"train"}
    assert np.bincount(split.labels[split.indices("val")]).tolist() == [2, 5]
    unusable = np.flatnonzero(samples.labels == 0)[:9]
    with pytest.raises(DarkroomError, match="'class 0' has 1 usable"):
        hold_out(samples, "val", 0.5, classes, 0, unusable=unusable)
    rare = hold_out(samples, "val", 0.5, classes, 0, min_class_size=2, unusable=unusable)
    assert np.bincount(rare.labels[rare.indices("val")]).tolist() == [0, 5]


def test_only_training_images_are_held_out():
    samples, classes = make_samples([30, 30])
    tested = hold_out(samples, "test", 0.5, classes, 0)
    both = hold_out(tested, "val", 0.5, classes, 0)
    assert np.array_equal(both.indices("test"), tested.indices("test"))
    assert np.bincount(both.labels[both.indices("val")]).tolist() == [8, 7]  # of the remaining 15 and 15; 15 in all


@settings(max_examples=50, deadline=None, phases=[Phase.generate])
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=30, max_size=80),
    st.floats(0.1, 0.6),
    st.integers(0, 1000),
)
def test_groups_stay_together(members, fraction, seed):
    labels, groups = (np.array(column) for column in zip(*members, strict=True))
    names = np.array([f"person {group}" if group else "" for group in groups.tolist()])
    ids = np.array([f"{index}" for index in range(len(labels))])
    classes = ("a", "b", "c")
    try:
        split = hold_out(Samples(ids, labels, np.full(len(ids), "train"), names), "test", fraction, classes, seed)
    except DarkroomError as error:
        assert "The class" in str(error)  # too few samples or groups of it
        return
    for name in set(names.tolist()) - {""}:
        assert len(set(split.splits[names == name].tolist())) == 1
    for part in ("train", "test"):
        assert set(split.labels[split.indices(part)].tolist()) == set(range(3))


def test_groups_come_close_to_the_fraction():
    labels = np.arange(1000) % 2
    groups = np.array([f"person {index // 20}" for index in range(1000)])
    samples = Samples(np.arange(1000).astype(str), labels, np.full(1000, "train"), groups)
    split = hold_out(samples, "test", 0.2, ("a", "b"), 0)
    assert np.bincount(labels[split.indices("test")]).tolist() == [100, 100]


def test_classes_that_are_too_small_are_not_split():
    samples, classes = make_samples([20, 1, 10])
    split = hold_out(samples, "test", 0.2, classes, 0, min_class_size=2)
    assert np.bincount(split.labels[split.indices("test")], minlength=3).tolist() == [4, 0, 2]
    assert np.bincount(split.labels[split.indices("train")], minlength=3).tolist() == [16, 1, 8]


def test_a_class_in_a_single_group_is_an_error():
    samples = Samples(
        np.array(list("abcd")), np.array([0, 0, 1, 1]), np.full(4, "train"), np.array(["x", "y", "z", "z"])
    )
    with pytest.raises(DarkroomError, match="'two' is in 1 group:"):
        hold_out(samples, "val", 0.5, ("one", "two"), 0)


def test_the_split_depends_on_the_seed():
    samples, classes = make_samples([50, 50])
    assert held_out(samples, classes, seed=1) == held_out(samples, classes, seed=1)
    assert held_out(samples, classes, seed=1) != held_out(samples, classes, seed=2)


def test_the_split_is_the_same_on_every_machine():
    samples, classes = make_samples([6, 6])
    assert held_out(samples, classes, 0.5, seed=42) == {f"train/{index:05}" for index in (0, 3, 4, 5, 6, 8)}


def test_the_order_of_the_samples_does_not_matter():
    samples, classes = make_samples([30, 20, 10])
    order = np.random.default_rng(1).permutation(len(samples))
    columns = (samples.ids, samples.labels, samples.splits, samples.groups)
    shuffled = Samples(*(column[order] for column in columns))
    assert held_out(shuffled, classes) == held_out(samples, classes)


def test_a_new_class_moves_no_image_of_other_classes():
    samples, classes = make_samples([30, 20, 10])
    ids = np.concatenate([samples.ids, [f"new/{index}" for index in range(10)]])
    labels = np.concatenate([samples.labels, np.full(10, 3)])
    more = Samples(ids, labels, np.full(len(ids), "train"), np.full(len(ids), ""))
    found = {name for name in held_out(more, (*classes, "new")) if name.startswith("train/")}
    assert found == held_out(samples, classes)


def test_a_larger_validation_set_contains_the_smaller():
    samples, classes = make_samples([30, 20, 10])
    assert held_out(samples, classes, 0.1) < held_out(samples, classes, 0.3)


@pytest.mark.parametrize("count", [1, 0])
def test_a_class_too_small_to_split_is_an_error(count: int):
    with pytest.raises(DarkroomError, match=rf"'class 1' has {count} usable"):
        held_out(*make_samples([5, count, 5]))


@pytest.mark.parametrize(
    ("given_splits", "explained"),
    [
        (["train", "val"], True),
        (["train"], False),
        (["train", "test"], False),
        (["train", "val", "test"], False),
    ],
)
def test_a_missing_test_split_beside_a_validation_split_is_explained(given_splits: list[str], explained: bool):
    n = len(given_splits)
    samples = Samples(np.arange(n).astype(str), np.zeros(n, np.int64), np.array(given_splits), np.full(n, ""))
    found = notice(samples, 0.25)
    assert bool(found) == explained
    assert not explained or ("25%" in found and "preprocess.test_fraction" in found)
