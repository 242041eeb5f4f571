import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from darkroom.preprocess import duplicates
from darkroom.preprocess.packing import Pack
from darkroom.preprocess.samples import Samples

IMAGES = any_array(
    np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]))
)


def pictures(count: int, side: int = 28, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Smooth random pictures (count, side, side, channels) uint8, black around."""
    waves = np.random.default_rng(seed).normal(size=(count, 5, 5, channels))
    basis = np.sin(np.pi * np.outer(np.arange(1, 6), np.arange(side) + 0.5) / side)
    smooth = np.einsum("nabc,ah,bw->nhwc", waves, basis, basis)
    return np.clip(128 + 60 * smooth, 0, 255).astype(np.uint8)


def moved(images: np.ndarray, down: int, right: int) -> np.ndarray:
    return np.roll(images, (down, right), axis=(1, 2))


def near(images: np.ndarray, most: float, chosen: list[int] | None = None) -> pd.DataFrame:
    with Pack(".", images.shape[1:]) as pack:
        for _ in pack.keep((images,)):
            pass
        return duplicates.near(pack, np.arange(len(images)) if chosen is None else np.array(chosen), most)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@settings(max_examples=50, deadline=None)
@given(IMAGES)
def test_a_picture_does_not_differ_from_itself(images):
    assert duplicates.differences(images, images) == pytest.approx(0, abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(IMAGES)
def test_descriptors_are_of_length_one_or_of_one_colour(images):
    found = duplicates.descriptors(images)
    lengths = np.linalg.norm(found, axis=1)
    assert found.dtype == np.float32
    assert np.all(np.isclose(lengths, 1, atol=1e-4) | (lengths == 0))
    grey = images.mean(3)
    assert not lengths[(grey == grey[:, :1, :1]).all(axis=(1, 2))].any()


def test_a_descriptor_tells_neither_where_the_picture_is_nor_how_bright():
    images = pictures(3)
    original = duplicates.descriptors(images)
    assert duplicates.descriptors(moved(images, 1, -1)) == pytest.approx(original, abs=1e-3)
    assert duplicates.descriptors(images // 2 * 2 // 2) == pytest.approx(original, abs=2e-2)
    assert np.linalg.norm(original[0] - original[1]) > 0.3


def test_descriptors_of_a_wave_are_its_frequency():
    rows = np.round(127.5 + 127.5 * np.cos(2 * np.pi * 2 * np.arange(16) / 16)).astype(np.uint8)  # two cycles down
    found = duplicates.descriptors(np.broadcast_to(rows[:, None, None], (1, 16, 16, 1))).reshape(
        7, 13
    )  # cycles across, down
    assert found[0, 6 - 2] == pytest.approx(found[0, 6 + 2]) == pytest.approx(np.sqrt(0.5), abs=1e-2)
    assert np.abs(found[1:]).max() < 0.1


@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (-1, 1), (1, 1)])
def test_moved_by_a_pixel_is_no_difference(down, right):
    images = pictures(4)
    assert duplicates.differences(images, moved(images, down, right)) == pytest.approx(0, abs=1e-3)
    assert duplicates.differences(images, moved(images, 4 * down, 4 * right)).min() > 4


def test_large_pictures_may_have_moved_further():
    images = pictures(2, side=56)
    assert duplicates.differences(images, moved(images, 2, 2)) == pytest.approx(0, abs=1e-3)


def test_a_tenth_brighter_is_no_difference_and_more_is():
    dark = np.full((1, 9, 9, 1), 100, np.uint8)
    for value, difference in ((110, 0.0), (92, 0.0), (50, 45.0), (200, 80.0)):  # 100 - 1.1 x 50; 100 - 0.9 x 200
        assert duplicates.differences(dark, np.full_like(dark, value)) == pytest.approx(difference)


def test_pairs_are_found_the_nearest_first():
    images = pictures(30)
    images[7] = moved(images[21:22], 1, 0)[0]
    images[3] = np.clip(images[12] + np.random.default_rng(0).normal(scale=6, size=images[12].shape), 0, 255)
    found = near(images, 4.0)
    assert found[["first", "second"]].to_numpy().tolist() == [[7, 21], [3, 12]]
    assert found["difference"].tolist() == pytest.approx([0, 2], abs=0.7)
    assert near(images, 1.0)[["first", "second"]].to_numpy().tolist() == [[7, 21]]


def test_only_the_chosen_are_compared_and_none_where_none_may_differ():
    images = np.repeat(pictures(2), 3, axis=0)
    assert near(images, 4.0, [1, 2, 4])[["first", "second"]].to_numpy().tolist() == [[1, 2]]
    for found in (near(images, 0.0), near(images, 4.0, []), near(images, 4.0, [3]), near(images[:1], 4.0)):
        assert found.empty
        assert found.columns.tolist() == ["first", "second", "difference"]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (2, 2, 1), (3, 40, 1)])
def test_pictures_of_any_size(shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    images[2] = images[0]
    assert [0, 2] in near(images, 4.0)[["first", "second"]].to_numpy().tolist() or shape[:2] == (
        1,
        1,
    )  # of one colour: left to another rule


def test_an_index_finds_what_a_comparison_with_all_finds(monkeypatch):
    images = pictures(1200, side=12)
    images[600:] = moved(images[:600], 0, 1)
    exact = near(images, 4.0)
    monkeypatch.setattr(duplicates, "_EXACT", 0)
    monkeypatch.setattr(duplicates, "_BLOCK_BYTES", 100 * 12 * 12)
    found = near(images, 4.0)
    assert set(zip(range(600), range(600, 1200), strict=True)) <= set(zip(exact["first"], exact["second"], strict=True))
    assert len(found.merge(exact)) >= 0.99 * len(exact)


def test_pairs_are_described_by_name_split_and_class():
    samples = Samples(
        np.array(["a", "b", "c"]), np.array([0, 1, 1]), np.array(["train", "val", "test"]), np.full(3, "")
    )
    pairs = pd.DataFrame({"first": [0], "second": [2], "difference": [1.23456]})
    told = duplicates.described(pairs, samples, ("shirt", "coat"))
    assert told.to_dict("records") == [
        {
            **{"first": "a", "first_split": "train", "first_label": "shirt"},
            **{"second": "c", "second_split": "test", "second_label": "coat"},
            "difference": 1.23,
        }
    ]
    assert duplicates.described(pairs[:0], samples, ("shirt", "coat")).columns.tolist() == told.columns.tolist()
