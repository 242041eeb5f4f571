import numpy as np
import pytest

from darkroom.figures.images import to_pil, to_rgb

GREY = np.array([[[0], [100]], [[200], [255]]], np.uint8)
COLOUR = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def test_grey_images_get_three_equal_channels():
    assert np.array_equal(to_rgb(GREY), np.concatenate([GREY, GREY, GREY], axis=2))
    assert np.array_equal(to_rgb(COLOUR), COLOUR)


@pytest.mark.parametrize(("image", "mode"), [(GREY, "L"), (COLOUR, "RGB")])
def test_pillow_images_have_the_same_pixels(image: np.ndarray, mode: str):
    converted = to_pil(image)
    assert converted.mode == mode
    assert np.array_equal(np.asarray(converted).reshape(image.shape), image)
