import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from darkroom.arrays import Split
from darkroom.cleaning import Finding, denoise, drop, inspect
from darkroom.errors import DarkroomError

CLASSES = ("shirt", "coat")


def make_split(name: str, *samples: tuple[int, int]) -> Split:
    """One 2 x 2 colour picture for each (kind, label): pictures of one kind are the same, and kind 0 is of one colour."""
    images = np.array([np.arange(12).reshape(2, 2, 3) * kind for kind, _ in samples], dtype=np.uint8)
    return Split(images, np.array([label for _, label in samples]), np.array([f"{name}/{place:05}" for place in range(len(samples))]))


@settings(max_examples=30)
@given(any_array(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))))
def test_denoise_takes_the_median_of_the_nine_neighbours(images):
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    assert np.array_equal(denoise(images, "median"), np.median(windows, axis=(-2, -1)).astype(np.uint8))


def test_denoise_is_the_same_over_many_blocks(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (50, 7, 5, 1), dtype=np.uint8)
    whole = denoise(images, "median")
    monkeypatch.setattr("darkroom.cleaning._BLOCK_BYTES", 7 * 5 * 3)
    assert np.array_equal(denoise(images, "median"), whole)


def test_denoise_none_returns_the_images_themselves():
    images = np.zeros((1, 2, 2, 1), dtype=np.uint8)
    assert denoise(images, "none") is images


def test_nothing_is_wrong_with_different_pictures():
    assert inspect(make_split("train", (1, 0), (2, 0), (3, 1)), CLASSES, make_split("test", (4, 0))) == []


def test_each_rule_is_found_and_said():
    train = make_split("train", (0, 0), (1, 0), (2, 0), (2, 0), (3, 0), (3, 1), (3, 0), (4, 1), (2, 0))
    assert inspect(train, CLASSES, make_split("test", (9, 0), (1, 1))) == [
        Finding("train/00000", "constant", "every pixel is 0 0 0"),
        Finding("train/00001", "leak", "the same pixels as test/00001"),
        Finding("train/00003", "duplicate", "the same pixels as train/00002"),
        Finding("train/00004", "conflict", "labelled shirt, but the same pixels as train/00005, labelled coat"),
        Finding("train/00005", "conflict", "labelled coat, but the same pixels as train/00004, labelled shirt"),
        Finding("train/00006", "conflict", "labelled shirt, but the same pixels as train/00005, labelled coat"),
        Finding("train/00008", "duplicate", "the same pixels as train/00002"),
    ]


def test_each_picture_is_found_once_by_the_first_rule_that_it_breaks():
    train = make_split("train", (0, 0), (0, 1), (1, 0), (1, 1), (1, 1))
    rules = [finding.rule for finding in inspect(train, CLASSES, make_split("test", (0, 0), (1, 0)))]
    assert rules == ["constant", "constant", "leak", "leak", "leak"]


def test_one_colour_is_constant_though_its_channels_differ():
    images = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    images[...] = (1, 2, 3)
    assert [finding.detail for finding in inspect(Split(images, np.array([0]), np.array(["a"])), CLASSES)] == ["every pixel is 1 2 3"]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=12), st.lists(st.integers(0, 4), max_size=3))
def test_what_is_left_is_clean_and_nothing_else_is_gone(samples, in_test):
    train, test = make_split("train", *samples), make_split("test", (5, 0), *((kind, 0) for kind in in_test))
    gone = {finding.id for finding in inspect(train, CLASSES, test)}
    left = [sample for sample, name in zip(samples, train.ids, strict=True) if name not in gone]
    right = {(kind, label) for kind, label in samples if kind and kind not in in_test and (kind, 1 - label) not in samples}
    assert sorted(left) == sorted(right)


def test_drop_keeps_the_order_and_the_fit_of_the_rest():
    kept = drop(make_split("train", (1, 0), (2, 1), (3, 0), (4, 1)), [Finding("train/00001", "leak", ""), Finding("train/00002", "constant", "")], CLASSES)
    assert kept.ids.tolist() == ["train/00000", "train/00003"]
    assert kept.labels.tolist() == [0, 1]
    assert kept.images[:, 0, 1, 0].tolist() == [3, 12]


def test_drop_of_nothing_copies_nothing():
    train = make_split("train", (1, 0), (2, 1))
    assert drop(train, [], CLASSES) is train


def test_a_class_left_empty_is_named_with_the_reasons():
    train = make_split("train", (0, 1), (1, 1), (0, 1), (2, 0))
    with pytest.raises(DarkroomError, match=r"'coat' has no training picture left: it had 3, of which were dropped: 2 constant, 1 leak;"):
        drop(train, inspect(train, CLASSES, make_split("test", (1, 1))), CLASSES)


def test_a_class_without_any_picture_is_named():
    with pytest.raises(DarkroomError, match=r"'coat' has no training picture left: it had 0"):
        drop(make_split("train", (1, 0)), [], CLASSES)
