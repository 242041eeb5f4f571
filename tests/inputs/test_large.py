"""Large images are decoded in bands and reduced early, so that they need little memory."""

import contextlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.inputs import flattening
from darkroom.inputs import image as image_input
from darkroom.inputs.image import Unusable
from tests.inputs.test_image import encode, pixels


def photo(width: int, height: int) -> Image.Image:
    """A smooth RGB image."""
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((width, height))


LARGE_FILES = {
    "PNG": lambda image: encode(image),
    "JPEG": lambda image: encode(image, "JPEG", quality=95, subsampling=0),
    "progressive JPEG": lambda image: encode(image, "JPEG", quality=95, subsampling=0, progressive=True),
    "TIFF": lambda image: encode(image, "TIFF", compression="tiff_lzw"),
    "CMYK": lambda image: encode(image.convert("CMYK"), "TIFF"),
    "palette": lambda image: encode(image.quantize(256)),
    "transparent": lambda image: encode(Image.merge("RGBA", [*image.split(), image.getchannel(0)])),
    "grey of 16 bits": lambda image: encode(np.asarray(image.convert("L")).astype(np.uint16) * 257),
}


@pytest.mark.parametrize("write", LARGE_FILES.values(), ids=LARGE_FILES)
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("sides", [(203, 150), (150, 331)])
def test_large_images_are_reduced_while_they_are_decoded(
    write: Callable[[Image.Image], bytes], resize: str, sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    contents = write(photo(*sides))
    expected = pixels(contents, 3, (9, 8), resize, 10**6).astype(int)
    monkeypatch.setattr(image_input, "_LARGE", 1000)
    monkeypatch.setattr(flattening, "_BAND", 700)
    assert np.abs(pixels(contents, 3, (9, 8), resize, 10**6) - expected).mean() <= 3


@pytest.mark.parametrize("write", LARGE_FILES.values(), ids=LARGE_FILES)
def test_bands_change_no_bit(write: Callable[[Image.Image], bytes], monkeypatch: pytest.MonkeyPatch):
    contents = write(photo(61, 43))
    expected = pixels(contents, 3, (43, 61))
    monkeypatch.setattr(flattening, "_BAND", 100)
    assert np.array_equal(pixels(contents, 3, (43, 61)), expected)


@given(
    st.sampled_from(list(LARGE_FILES)),
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
@settings(deadline=None)
def test_damaged_large_files_are_decoded_or_refused(kind: str, cut: float, flips: list[tuple[float, int]]):
    contents = bytearray(LARGE_FILES[kind](photo(64, 48)))
    for position, value in flips:
        contents[int(position * len(contents))] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_input, "_LARGE", 500)
        for damaged in (bytes(contents), bytes(contents[: int(cut * len(contents))])):
            with contextlib.suppress(Unusable):
                pixels(damaged, 3, (5, 4))
