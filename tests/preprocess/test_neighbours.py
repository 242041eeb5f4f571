import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from darkroom.preprocess import neighbours
from darkroom.preprocess.neighbours import Neighbours, descriptors
from darkroom.preprocess.packing import Pack
from tests.preprocess.copies import make_images, shifted

IMAGES = any_array(
    np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]))
)


def candidates(images: np.ndarray, mirrored: bool = False) -> list[list[int]]:
    with Pack(".", images.shape[1:]) as pack:
        for _ in pack.keep((images,)):
            pass
        return Neighbours(pack, np.arange(len(images))).candidates(mirrored).tolist()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@settings(max_examples=50, deadline=None)
@given(IMAGES, st.sampled_from([1.0, 0.94]))
def test_descriptors_have_unit_length_unless_the_image_is_constant(images: np.ndarray, zoom: float):
    found = descriptors(images, zoom)
    lengths = np.linalg.norm(found, axis=1)
    assert found.dtype == np.float32
    assert np.all(np.isclose(lengths, 1, atol=1e-4) | (lengths == 0))
    grey = images.mean(3)
    assert not lengths[(grey == grey[:, :1, :1]).all(axis=(1, 2))].any()


def test_descriptors_are_invariant_to_shift_brightness_and_contrast():
    images = make_images(3)
    original = descriptors(images)
    assert descriptors(shifted(images, 1, -1)) == pytest.approx(original, abs=1e-3)
    assert descriptors(images // 2 + 60) == pytest.approx(original, abs=2e-2)
    assert np.linalg.norm(original[0] - original[1]) > 0.2


def test_the_descriptor_of_a_wave_is_its_frequency():
    rows = np.round(127.5 + 127.5 * np.cos(2 * np.pi * 2 * np.arange(16) / 16)).astype(np.uint8)  # two cycles down
    found = descriptors(np.broadcast_to(rows[:, None, None], (1, 16, 16, 1)))
    assert found.shape == (1, 48) and not found[0, 45:].any()  # whole vectors for faiss
    found = found[0, :45].reshape(5, 9)  # cycles across, down
    assert found[0, 4 - 2] == pytest.approx(found[0, 4 + 2]) == pytest.approx(np.sqrt(0.5), abs=1e-2)
    assert np.abs(found[1:]).max() < 0.1


def test_zoom_describes_the_enlarged_centre():
    fine = make_images(1, side=100)
    centre = fine[:, 3:97, 3:97]
    assert descriptors(fine, 0.94) == pytest.approx(descriptors(centre), abs=0.01)
    assert np.abs(descriptors(fine) - descriptors(centre)).max() > 0.02


def test_copies_zoomed_and_mirrored_copies_are_candidates():
    images = make_images(40)
    large = make_images(40, side=100)[:, 3:97, 3:97]
    images[3], images[7] = shifted(images[12], 1, 0), images[21, :, ::-1]
    images[5] = large[30, np.arange(28) * 94 // 28 + 1][:, np.arange(28) * 94 // 28 + 1]
    assert [3, 12] in candidates(images) and [5, 30] in candidates(images)
    assert candidates(images, mirrored=True) == [[7, 21]]


def test_the_index_finds_the_pairs_of_an_exact_search(monkeypatch: pytest.MonkeyPatch):
    images = make_images(1200, side=12)
    images[600:] = shifted(images[:600], 0, 1)
    exact = candidates(images)
    monkeypatch.setattr(neighbours, "_MAX_EXACT", 0)
    monkeypatch.setattr(neighbours, "_BLOCK", 100)
    found = candidates(images)
    assert {(index, index + 600) for index in range(600)} <= {tuple(pair) for pair in exact}
    assert len({*map(tuple, found)} & {*map(tuple, exact)}) >= 0.99 * len(exact)
