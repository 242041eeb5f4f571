import numpy as np
import pytest
from pydantic import ValidationError

from darkroom.preprocess.intensities import MIN_LEVELS, NO_INTENSITIES, measure
from tests.preprocess.test_raw_data import SETTINGS


def counts(*values: int | np.ndarray) -> np.ndarray:
    """The counts (65536,) of an image with these values."""
    return np.bincount(np.concatenate([np.ravel(value) for value in values]), minlength=2**16)


NARROW = counts(np.arange(7_300, 8_201).repeat(10))
WIDE = counts(np.arange(0, 65_536))


def test_the_range_is_that_of_all_images():
    found = measure([counts(np.arange(100, 300)), counts(np.arange(200, 1_000))], "auto")
    assert found.range == (101, 998) and found.images == 2 and found.coarse == 0 and found.warning is None


def test_dead_and_hot_pixels_do_not_count():
    found = measure([NARROW + counts(0, 65_535, 65_535)], "auto")
    assert found.range is not None and found.range[0] < 7_320 and found.range[1] > 8_180


@pytest.mark.parametrize("values", [WIDE, counts(np.arange(0, 32_768 + 100))])
def test_images_that_use_half_of_the_bits_keep_their_scale(values: np.ndarray):
    assert measure([values], "auto").range is None


def test_images_of_one_value_keep_their_scale():
    assert measure([counts(np.full(9, 500))], "auto").range is None


def test_no_images_have_no_range():
    assert measure([], "auto") == NO_INTENSITIES
    assert measure([], [3, 9]).range == (3, 9)


def test_a_given_range_is_used():
    assert measure([NARROW], [7_000, 9_000]).range == (7_000, 9_000)


def test_images_that_lose_their_levels_are_reported():
    found = measure([NARROW, NARROW, *[WIDE] * 9], "auto")
    assert found.range is None and (found.images, found.coarse) == (11, 2)
    assert found.warning.startswith("2 of 11 training images") and "preprocess.intensity_range" in found.warning
    assert measure([NARROW], [0, 65_535]).coarse == 1
    assert measure([NARROW], [7_300, 8_200]).coarse == 0


def test_images_that_have_few_values_lose_nothing():
    assert measure([counts(np.arange(0, MIN_LEVELS - 1)), *[WIDE] * 9], "auto").coarse == 0


@pytest.mark.parametrize("wanted", ["auto", [0, 65_535], [7_300, 8_200]])
def test_a_range_is_automatic_or_two_values(wanted: object):
    assert SETTINGS.model_validate({**SETTINGS.model_dump(), "intensity_range": wanted}).intensity_range == wanted


@pytest.mark.parametrize("wanted", ["full", [1], [5, 5], [9, 2], [0, 65_536], [-1, 5], [0.5, 9], [1, 2, 3]])
def test_other_ranges_are_refused(wanted: object):
    with pytest.raises(ValidationError):
        SETTINGS.model_validate({**SETTINGS.model_dump(), "intensity_range": wanted})
