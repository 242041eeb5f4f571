import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array
from PIL import Image

from darkroom.preprocess.likeness import differences
from tests.preprocess.copies import make_images, shifted

SIDES = st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]))
PAIRS = SIDES.flatmap(lambda shape: st.tuples(any_array(np.uint8, shape), any_array(np.uint8, shape)))


@settings(max_examples=100, deadline=None)
@given(PAIRS)
def test_the_difference_is_symmetric_and_does_not_depend_on_mirroring(pair):
    first, second = pair
    found = differences(first, second)
    assert found.shape == (len(first),) and found.dtype == np.float64
    assert np.all(found >= 0)
    assert np.array_equal(found, differences(second, first))
    assert differences(first[:, :, ::-1], second[:, :, ::-1]) == pytest.approx(found, rel=0.02, abs=0.005)


@settings(max_examples=50, deadline=None)
@given(PAIRS)
def test_an_image_does_not_differ_from_itself_unless_it_is_flat(pair):
    found = differences(pair[0], pair[0])
    assert np.all((found == 0) | np.isinf(found))
    is_flat = (pair[0] == pair[0][:, :1, :1]).all(axis=(1, 2, 3))
    assert np.isinf(found[is_flat]).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_flat_images_and_noise_are_no_copies(one: int, other: int, seed: int):
    random = np.random.default_rng(seed)
    noise = random.integers(0, 2, (2, 28, 28, 1), dtype=np.uint8)
    first, second = (np.minimum(level, 254) + noise[index] for index, level in enumerate((one, other)))
    assert differences(first[None].astype(np.uint8), second[None].astype(np.uint8)) > 0.5


@pytest.mark.parametrize("side", [28, 64])
@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (-1, 1)])
def test_a_shift_by_a_28th_of_a_side_is_no_difference(side: int, down: int, right: int):
    images, step = make_images(4, side), side // 28
    assert differences(images, shifted(images, step * down, step * right)).max() < 0.05
    assert differences(images, shifted(images, 8 * step * down, 8 * step * right)).min() > 0.3


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 15), (1.0, -15), (0.8, 25), (1.2, -25), (0.6, 0)])
def test_brightness_and_contrast_are_no_difference(gain: float, offset: float):
    images = np.clip(make_images(4, channels=3), 40, 200)
    changed = np.round(gain * images + offset).astype(np.uint8)
    assert differences(images, changed).max() < 0.02


def test_resizing_is_no_difference():
    images = make_images(4)
    small = [Image.fromarray(image[..., 0]).resize((14, 14), Image.Resampling.BILINEAR) for image in images]
    halved = np.stack([np.asarray(image.resize((28, 28), Image.Resampling.BILINEAR)) for image in small])[..., None]
    boxes = [Image.fromarray(image[..., 0]).resize((28, 28), box=(0.7, 0.7, 27.3, 27.3)) for image in images]
    zoomed = np.stack([np.asarray(image) for image in boxes])[..., None]
    assert differences(images, halved).max() < 0.05
    assert differences(images, zoomed).max() < 0.05


def test_other_images_differ_by_more_than_their_contrast():
    images = make_images(40)
    assert differences(images[:20], images[20:]).min() > 0.5
    assert differences(images, 255 - images).min() > 0.5


def test_a_small_object_on_a_common_background_counts():
    background = make_images(1, side=56, channels=3)
    first, second = background.copy(), background.copy()
    first[0, 10:18, 10:18] = 255
    second[0, 38:46, 30:38] = 255
    assert differences(first, second) > 0.5
    assert differences(background, first) > 0.3
