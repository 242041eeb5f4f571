import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from darkroom.inputs.denoising import denoise, denoise_with_centre


@settings(max_examples=30)
@given(any_array(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))))
def test_each_pixel_becomes_the_median_of_its_nine_neighbours(images):
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    assert np.array_equal(denoise(images, "median"), np.median(windows, axis=(-2, -1)).astype(np.uint8))


def test_the_block_size_changes_nothing(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (50, 7, 5, 1), dtype=np.uint8)
    whole = denoise(images, "median")
    monkeypatch.setattr("darkroom.inputs.denoising._BLOCK_BYTES", 7 * 5 * 3)
    assert np.array_equal(denoise(images, "median"), whole)


def test_the_centre_is_filtered_without_its_margin():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 7, 3), dtype=np.uint8)
    found, plain = denoise_with_centre(images, "median", (4, 5)), denoise(images, "median")
    assert np.array_equal(found[:, 2:6, 1:6], denoise(images[:, 2:6, 1:6], "median"))
    found[:, 2:6, 1:6] = plain[:, 2:6, 1:6]
    assert np.array_equal(found, plain)
    assert np.array_equal(denoise_with_centre(images, "median", (8, 7)), plain)
    assert denoise_with_centre(images, "none", (4, 5)) is images


def test_none_returns_the_images_themselves():
    images = np.zeros((1, 2, 2, 1), dtype=np.uint8)
    assert denoise(images, "none") is images
