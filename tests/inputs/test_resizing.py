import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from darkroom.core.cropping import centre
from darkroom.inputs.image import decode
from darkroom.inputs.resizing import fit, seen, uncropped
from tests.inputs.test_image import encode

INTERPOLATIONS = ("bilinear", "bicubic")
MODES = ("stretch", "crop", "pad")


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    """A grey image, or a coloured one if the seed is odd."""
    shape = (height, width, 3) if seed % 2 else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_each_method_of_resizing(interpolation: str):
    wide = Image.fromarray(np.array([[10, 10, 200, 200, 90, 90]] * 2, np.uint8))
    cropped = np.asarray(fit(wide, (2, 2), "crop", interpolation))
    assert np.array_equal(cropped, [[200, 200]] * 2)
    padded = np.asarray(fit(wide, (6, 6), "pad", interpolation))
    assert np.array_equal(padded[2:4], np.asarray(wide)) and not padded[:2].any() and not padded[4:].any()
    stretched = np.asarray(fit(wide, (2, 3), "stretch", interpolation))
    assert stretched.shape == (2, 3) and stretched[0, 0] < stretched[0, 2] < stretched[0, 1]
    assert fit(wide, (2, 6), "crop", interpolation) is wide


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_resizing_is_antialiased(interpolation: str):
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32)))
    found = np.asarray(fit(stripes, (8, 8), "stretch", interpolation)).astype(int)
    assert np.abs(found - 127).max() <= 12


sides = st.integers(1, 50)


@settings(deadline=None)
@given(sides, sides, sides, sides, st.integers(0, 2**32))
def test_bilinear_is_one_pass_of_pillow(height: int, width: int, to_height: int, to_width: int, seed: int):
    image, size = noise(height, width, seed), (to_width, to_height)
    stretched, cropped = (fit(image, size[::-1], mode, "bilinear") for mode in ("stretch", "crop"))
    assert np.array_equal(stretched, image.resize(size, Image.Resampling.BILINEAR))
    assert np.array_equal(cropped, ImageOps.fit(image, size, Image.Resampling.BILINEAR))


@settings(deadline=None)
@given(sides, sides, sides, sides, st.integers(0, 2**32))
def test_bicubic_is_pillows_with_the_width_first(height: int, width: int, to_height: int, to_width: int, seed: int):
    image, size = noise(height, width, seed), (to_width, to_height)
    first = fit(image, (height, to_width), "stretch", "bicubic")
    assert np.array_equal(first, image.resize((to_width, height), Image.Resampling.BICUBIC))
    both = fit(image, (to_height, to_width), "stretch", "bicubic")
    assert np.array_equal(both, first.resize(size, Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("height", "width"), [(40, 80), (80, 40), (33, 47)])
def test_bicubic_crop_is_that_of_pillow(height: int, width: int):
    smooth = noise(5, 5, 1).resize((width, height), Image.Resampling.BICUBIC)  # no clipping: the order matters little
    found = fit(smooth, (20, 30), "crop", "bicubic")
    expected = ImageOps.fit(smooth, (30, 20), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(expected)).max() <= 2


@given(st.integers(1, 1024), st.integers(1, 1024), st.floats(0.5, 1))
def test_an_uncropped_image_is_never_smaller_than_its_centre(height: int, width: int, fraction: float):
    found = uncropped((height, width), fraction)
    assert height <= found[0] <= 2 * height and width <= found[1] <= 2 * width
    assert uncropped((height, width), 1) == (height, width)


@pytest.mark.parametrize(
    ("side", "fraction", "expected"), [(224, 0.875, 256), (224, 0.9, 248), (288, 0.95, 303), (384, 1.0, 384)]
)
def test_the_size_before_the_crop_is_rounded_down_as_by_timm(side: int, fraction: float, expected: int):
    from timm.data.transforms_factory import transforms_imagenet_eval

    assert uncropped((side, side), fraction) == (expected, expected)
    first, *_ = transforms_imagenet_eval(side, crop_pct=fraction).transforms
    assert first.size == expected


@pytest.mark.parametrize("mode", MODES)
def test_a_file_is_resized_by_the_interpolation(mode: str):
    image = noise(9, 12)
    for interpolation in INTERPOLATIONS:
        found = decode(encode(image), (6, 7), 1, mode, 10_000, None, interpolation)[..., 0]
        assert np.array_equal(found, fit(image, (6, 7), mode, interpolation))
    assert not np.array_equal(found, fit(image, (6, 7), mode, "bilinear"))


@given(
    st.integers(64, 160), st.integers(64, 160), st.integers(32, 64), st.integers(32, 64), st.sampled_from(MODES),
    st.sampled_from([1.0, 0.875, 0.5]),
)  # fmt: skip
def test_what_a_network_sees_has_the_brightness_of_its_input(
    height: int, width: int, to_height: int, to_width: int, mode: str, fraction: float
):
    size = to_height, to_width
    slope = np.add.outer(np.linspace(20, 120, height), np.linspace(0, 120, width)).astype(np.uint8)
    whole = fit(Image.fromarray(slope), uncropped(size, fraction), mode, "bilinear")
    is_same = slope.shape == size
    given = slope if is_same else centre(np.asarray(whole)[None, ..., None], size)
    part, covered = seen(slope[None, ..., None], size, mode, fraction)
    assert covered * part.mean() == pytest.approx(given.mean(), abs=8) and 0 < covered <= 1


def test_a_padded_image_covers_a_part_of_the_input():
    images = np.zeros((2, 10, 20, 3), np.uint8)
    assert seen(images, (8, 8), "pad", 1.0)[1] == 0.5 and seen(images, (8, 8), "stretch", 1.0)[1] == 1
    part, covered = seen(images, (8, 8), "crop", 1.0)
    assert part.shape == (2, 10, 10, 3) and covered == 1 and seen(images, (10, 20), "pad", 0.5)[0] is images
    assert seen(images, (8, 8), "crop", 0.5)[0].shape == (2, 5, 5, 3)
