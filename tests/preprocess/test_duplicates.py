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


def make_images(count: int, side: int = 28, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Smooth random images (count, side, side, channels) uint8 with uniform edges."""
    waves = np.random.default_rng(seed).normal(size=(count, 5, 5, channels))
    basis = np.sin(np.pi * np.outer(np.arange(1, 6), np.arange(side) + 0.5) / side)
    smooth = np.einsum("nabc,ah,bw->nhwc", waves, basis, basis)
    return np.clip(128 + 60 * smooth, 0, 255).astype(np.uint8)


def shifted(images: np.ndarray, down: int, right: int) -> np.ndarray:
    return np.roll(images, (down, right), axis=(1, 2))


def find(images: np.ndarray, max_difference: float, chosen: list[int] | None = None) -> pd.DataFrame:
    with Pack(".", images.shape[1:]) as pack:
        for _ in pack.keep((images,)):
            pass
        return duplicates.find_pairs(
            pack, np.arange(len(images)) if chosen is None else np.array(chosen), max_difference
        )


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@settings(max_examples=50, deadline=None)
@given(IMAGES)
def test_an_image_does_not_differ_from_itself(images):
    assert duplicates.differences(images, images) == pytest.approx(0, abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(IMAGES)
def test_descriptors_have_unit_length_unless_the_image_is_constant(images):
    found = duplicates.descriptors(images)
    lengths = np.linalg.norm(found, axis=1)
    assert found.dtype == np.float32
    assert np.all(np.isclose(lengths, 1, atol=1e-4) | (lengths == 0))
    grey = images.mean(3)
    assert not lengths[(grey == grey[:, :1, :1]).all(axis=(1, 2))].any()


def test_descriptors_are_invariant_to_shift_and_brightness():
    images = make_images(3)
    original = duplicates.descriptors(images)
    assert duplicates.descriptors(shifted(images, 1, -1)) == pytest.approx(original, abs=1e-3)
    assert duplicates.descriptors(images // 2 * 2 // 2) == pytest.approx(original, abs=2e-2)
    assert np.linalg.norm(original[0] - original[1]) > 0.3


def test_the_descriptor_of_a_wave_is_its_frequency():
    rows = np.round(127.5 + 127.5 * np.cos(2 * np.pi * 2 * np.arange(16) / 16)).astype(np.uint8)  # two cycles down
    found = duplicates.descriptors(np.broadcast_to(rows[:, None, None], (1, 16, 16, 1)))
    found = found.reshape(7, 13)  # cycles across, down
    assert found[0, 6 - 2] == pytest.approx(found[0, 6 + 2]) == pytest.approx(np.sqrt(0.5), abs=1e-2)
    assert np.abs(found[1:]).max() < 0.1


@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (-1, 1), (1, 1)])
def test_a_shift_by_a_pixel_is_no_difference(down, right):
    images = make_images(4)
    assert duplicates.differences(images, shifted(images, down, right)) == pytest.approx(0, abs=1e-3)
    assert duplicates.differences(images, shifted(images, 4 * down, 4 * right)).min() > 4


def test_the_shift_grows_with_the_image():
    images = make_images(2, side=56)
    assert duplicates.differences(images, shifted(images, 2, 2)) == pytest.approx(0, abs=1e-3)


def test_brightness_within_ten_percent_is_no_difference():
    dark = np.full((1, 9, 9, 1), 100, np.uint8)
    for value, difference in ((110, 0.0), (92, 0.0), (50, 45.0), (200, 80.0)):  # 100 - 1.1 x 50; 100 - 0.9 x 200
        assert duplicates.differences(dark, np.full_like(dark, value)) == pytest.approx(difference)


def test_pairs_are_sorted_by_difference():
    images = make_images(30)
    images[7] = shifted(images[21:22], 1, 0)[0]
    images[3] = np.clip(images[12] + np.random.default_rng(0).normal(scale=6, size=images[12].shape), 0, 255)
    found = find(images, 4.0)
    assert found[["first", "second"]].to_numpy().tolist() == [[7, 21], [3, 12]]
    assert found["difference"].tolist() == pytest.approx([0, 2], abs=0.7)
    assert find(images, 1.0)[["first", "second"]].to_numpy().tolist() == [[7, 21]]


def test_only_chosen_images_are_compared():
    images = np.repeat(make_images(2), 3, axis=0)
    assert find(images, 4.0, [1, 2, 4])[["first", "second"]].to_numpy().tolist() == [[1, 2]]
    for found in (find(images, 0.0), find(images, 4.0, []), find(images, 4.0, [3]), find(images[:1], 4.0)):
        assert found.empty
        assert found.columns.tolist() == ["first", "second", "difference"]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (2, 2, 1), (3, 40, 1)])
def test_images_of_any_size(shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    images[2] = images[0]
    pairs = find(images, 4.0)[["first", "second"]].to_numpy().tolist()
    assert [0, 2] in pairs or shape[:2] == (1, 1)  # a constant image is reported by another rule


def test_the_index_finds_the_pairs_of_an_exact_search(monkeypatch):
    images = make_images(1200, side=12)
    images[600:] = shifted(images[:600], 0, 1)
    exact = find(images, 4.0)
    monkeypatch.setattr(duplicates, "_MAX_EXACT", 0)
    monkeypatch.setattr(duplicates, "_BLOCK_BYTES", 100 * 12 * 12)
    found = find(images, 4.0)
    assert set(zip(range(600), range(600, 1200), strict=True)) <= set(zip(exact["first"], exact["second"], strict=True))
    assert len(found.merge(exact)) >= 0.99 * len(exact)


def test_the_pair_table_holds_id_split_and_class():
    samples = Samples(
        np.array(["a", "b", "c"]), np.array([0, 1, 1]), np.array(["train", "val", "test"]), np.full(3, "")
    )
    pairs = pd.DataFrame({"first": [0], "second": [2], "difference": [1.23456]})
    table = duplicates.pair_table(pairs, samples, ("shirt", "coat"))
    assert table.to_dict("records") == [
        {
            **{"first": "a", "first_split": "train", "first_label": "shirt"},
            **{"second": "c", "second_split": "test", "second_label": "coat"},
            "difference": 1.23,
        }
    ]
    assert duplicates.pair_table(pairs[:0], samples, ("shirt", "coat")).columns.tolist() == table.columns.tolist()
