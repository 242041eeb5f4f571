import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.arrays import Split
from darkroom.errors import DarkroomError
from darkroom.splits import official, stratify, validation_counts

CLASS_COUNTS = st.lists(st.integers(2, 40), min_size=1, max_size=6)
FRACTIONS = st.floats(0.01, 0.99)


def make_samples(counts: list[int]) -> tuple[Split, tuple[str, ...]]:
    """Shuffled samples, so many of each class; each picture's one pixel is its place."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels)).astype(np.uint8).reshape(-1, 1, 1, 1)
    return official("train", images, labels), tuple(f"class {label}" for label in range(len(counts)))


def held_out(samples: Split, classes: tuple[str, ...], fraction: float = 0.2, seed: int = 0) -> set[str]:
    return set(stratify(samples, classes, fraction, seed)[1].ids.tolist())


def test_official_ids_are_the_split_and_the_place():
    samples = official("test", np.zeros((3, 1, 1, 1), np.uint8), np.zeros(3, np.int64))
    assert samples.ids.tolist() == ["test/00000", "test/00001", "test/00002"]


def test_largest_remainders_get_the_rest():
    assert validation_counts([14, 11, 13, 12], "abcd", 0.1) == [2, 1, 1, 1]  # shares 1.4, 1.1, 1.3, 1.2 of 5
    assert validation_counts([6000] * 10, "abcdefghij", 0.1) == [600] * 10


def test_a_small_class_still_validates_and_trains():
    assert validation_counts([2, 100], "ab", 0.01) == [1, 1]
    assert validation_counts([2, 100], "ab", 0.99) == [1, 99]


@given(CLASS_COUNTS, FRACTIONS)
def test_shares_are_kept_within_one_and_the_total_as_near_as_possible(counts, fraction):
    result = validation_counts(counts, [str(label) for label in range(len(counts))], fraction)
    least = [max(1, int(count * fraction)) for count in counts]
    most = [min(count - 1, int(np.ceil(count * fraction))) for count in counts]
    assert all(1 <= number < count and abs(number - count * fraction) <= 1 for number, count in zip(result, counts, strict=True))
    assert sum(result) == np.clip(round(sum(counts) * fraction), sum(least), sum(most))


@settings(max_examples=50)
@given(CLASS_COUNTS, FRACTIONS, st.integers(0, 2**32 - 1))
def test_the_split_is_disjoint_complete_stratified_and_in_order(counts, fraction, seed):
    samples, classes = make_samples(counts)
    train, val = stratify(samples, classes, fraction, seed)
    assert sorted([*train.ids, *val.ids]) == samples.ids.tolist()
    assert np.bincount(val.labels, minlength=len(counts)).tolist() == validation_counts(counts, classes, fraction)
    for part in (train, val):
        places = [int(name.removeprefix("train/")) for name in part.ids]
        assert places == sorted(places)
        assert np.array_equal(part.labels, samples.labels[places])
        assert np.array_equal(part.images, samples.images[places])


def test_the_seed_decides():
    samples, classes = make_samples([50, 50])
    assert held_out(samples, classes, seed=1) == held_out(samples, classes, seed=1)
    assert held_out(samples, classes, seed=1) != held_out(samples, classes, seed=2)


def test_the_split_is_the_same_on_every_machine():
    samples, classes = make_samples([6, 6])
    assert held_out(samples, classes, 0.5, seed=42) == {f"train/0000{place}" for place in (0, 3, 4, 5, 6, 8)}


def test_the_order_of_the_samples_does_not_matter():
    samples, classes = make_samples([30, 20, 10])
    order = np.random.default_rng(1).permutation(len(samples))
    shuffled = Split(samples.images[order], samples.labels[order], samples.ids[order])
    assert held_out(shuffled, classes) == held_out(samples, classes)


def test_a_new_class_moves_no_picture_of_the_others():
    samples, classes = make_samples([30, 20, 10])
    more = Split(
        np.concatenate([samples.images, samples.images[:10]]),
        np.concatenate([samples.labels, np.full(10, 3)]),
        np.concatenate([samples.ids, [f"new/{place}" for place in range(10)]]),
    )
    assert {name for name in held_out(more, (*classes, "new")) if name.startswith("train/")} == held_out(samples, classes)


def test_a_larger_validation_set_holds_the_smaller():
    samples, classes = make_samples([30, 20, 10])
    assert held_out(samples, classes, 0.1) < held_out(samples, classes, 0.3)


@pytest.mark.parametrize(("count", "words"), [(1, "1 usable training picture,"), (0, "0 usable training pictures,")])
def test_a_class_too_small_to_split_is_named(count, words):
    with pytest.raises(DarkroomError, match=rf"'class 1' has {words} but the split .* needs 2 at least: add pictures"):
        stratify(*make_samples([5, count, 5]), 0.2, 0)
