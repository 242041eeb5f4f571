import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.core.arrays import Split
from darkroom.preprocess import shift


def split(images: np.ndarray) -> Split:
    return Split(images, np.zeros(len(images), np.int64), np.array([str(number) for number in range(len(images))]))


def photos(seed: int, count: int, brightness: int = 0) -> Split:
    """Random smooth images (12, 10, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 200, (count, 4, 5, 3))
    return split((coarse.repeat(3, axis=1).repeat(2, axis=2) + brightness).astype(np.uint8))


def test_images_of_one_distribution_are_told_apart_by_chance_only():
    found = [shift.measure(photos(seed, 60), photos(1000 + seed, 200), seed) for seed in range(60)]
    assert np.mean([one.p_value < 0.05 for one in found]) < 0.15
    assert np.mean([one.low <= 0.5 <= one.high for one in found]) > 0.85
    assert all(one.warning == "" for one in found)


def test_images_of_another_distribution_are_told_apart():
    found = shift.measure(photos(0, 60), photos(1, 200, brightness=50), 0)
    assert found.auc > 0.9 and found.p_value < 1e-6 and found.low <= found.auc <= found.high
    assert found.warning
    assert (found.labelled, found.unlabelled) == (60, 200)


def test_the_result_is_repeatable_and_needs_enough_images():
    assert shift.measure(photos(0, 60), photos(1, 99), 3) == shift.measure(photos(0, 60), photos(1, 99), 3)
    assert shift.measure(photos(0, 19), photos(1, 99), 0) is None
    assert shift.measure(photos(0, 60), photos(1, 19), 0) is None


def test_images_that_people_labelled_are_not_compared():
    """Those that a strategy chose among the unlabelled ones differ from these for that reason alone."""
    own, chosen = photos(0, 60), photos(1, 40, brightness=50)
    both = Split(
        *(np.concatenate([getattr(own, name), getattr(chosen, name)]) for name in ("uncropped", "labels", "ids"))
    )
    both.ids[60:] = [f"unlabelled/{number}" for number in range(40)]
    left_out = set(both.ids[60:].tolist())
    assert shift.measure(both, photos(2, 99), 3, left_out) == shift.measure(own, photos(2, 99), 3)
    assert shift.measure(both, photos(2, 99), 3, set(both.ids[:90].tolist())) is None


def test_images_without_any_difference_have_no_result_that_warns():
    black = split(np.zeros((40, 1, 1, 1), np.uint8))
    found = shift.measure(black, black, 0)
    assert (found.auc, found.warning) == (0.5, "") and found.p_value == pytest.approx(0.5)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=20), st.lists(st.integers(0, 5), min_size=2, max_size=20))
def test_the_area_is_that_of_all_pairs(negative: list[int], positive: list[int]):
    auc, deviation = shift._auc(np.array(negative, float), np.array(positive, float))
    assert auc == pytest.approx(np.mean([(p > n) + (p == n) / 2 for p in positive for n in negative]))
    assert deviation >= 0


def test_the_features_are_means_of_cells_deviation_and_slopes():
    images = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    assert shift.describe(images).tolist() == [[*range(16), np.arange(16).std(), 4, 1]]
    constant = np.full((2, 19, 23, 3), 7, np.uint8)
    assert (
        shift.describe(constant).shape == (2, 3 * (64 + 3))
        and shift.describe(constant)[:, : 3 * 64].tolist() == [[7.0] * 192] * 2
    )
