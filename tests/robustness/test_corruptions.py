from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from darkroom.core.randomness import numpy_generator
from darkroom.robustness import corruptions
from darkroom.robustness.corruptions import CORRUPTIONS, SEVERITIES, STRENGTHS, corrupt

IMAGES = any_array(
    np.uint8, st.tuples(st.integers(0, 3), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]))
)
# The others draw no random numbers.
RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "shift", "rotation", "occlusion")

every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)


def smooth_images(count: int, side: int = 28, channels: int = 1) -> np.ndarray:
    """Smooth random images (count, side, side, channels) uint8."""
    waves = np.random.default_rng(0).normal(size=(count, 5, 5, channels))
    basis = np.cos(np.pi * np.outer(np.arange(5), np.arange(side) + 0.5) / side)
    return np.clip(128 + 60 * np.einsum("nabc,ah,bw->nhwc", waves, basis, basis), 0, 255).astype(np.uint8)


def constant(level: int, count: int = 1, side: int = 28, channels: int = 1) -> np.ndarray:
    return np.full((count, side, side, channels), level, np.uint8)


def generator() -> np.random.Generator:
    return numpy_generator(0, "test")


def test_every_corruption_has_one_strength_per_severity():
    assert list(STRENGTHS) == list(CORRUPTIONS)
    assert {len(strengths) for strengths in STRENGTHS.values()} == {len(SEVERITIES)}


@pytest.mark.parametrize(
    ("name", "severity", "match"), [("jpg", 1, "'jpg'.*jpeg"), ("jpeg", 0, "severity = 0"), ("jpeg", 6, "severity = 6")]
)
def test_unknown_names_and_severities_are_rejected(name, severity, match):
    with pytest.raises(ValueError, match=match):
        corrupt(smooth_images(1), name, severity, 0)


@every_corruption
@settings(max_examples=15, deadline=None)
@given(images=IMAGES, severity=st.sampled_from(SEVERITIES), seed=st.integers(0, 2**63))
def test_result_is_a_reproducible_copy_of_the_same_shape(name, images, severity, seed):
    before = images.copy()
    images.flags.writeable = False
    corrupted = corrupt(images, name, severity, seed)
    assert corrupted.shape == images.shape
    assert corrupted.dtype == np.uint8
    assert not np.shares_memory(corrupted, images)
    assert np.array_equal(images, before)
    assert np.array_equal(corrupt(images, name, severity, seed), corrupted)


@every_corruption
@pytest.mark.parametrize("channels", [1, 3])
def test_severity_increases_the_change(name, channels):
    images = smooth_images(30, channels=channels)
    changes = [np.abs(corrupt(images, name, severity, 0).astype(int) - images).mean() for severity in SEVERITIES]
    assert changes[0] > 0
    assert np.all(np.diff(changes) > 0)


@every_corruption
def test_result_depends_on_the_index_but_not_on_the_other_images(name, monkeypatch):
    monkeypatch.setattr(corruptions, "_BLOCK", 4)
    images = smooth_images(11, side=9, channels=3)
    whole = corrupt(images, name, 3, 0)
    for count in range(11):
        assert np.array_equal(corrupt(images[:count], name, 3, 0), whole[:count])
    others = images[::-1].copy()
    others[6] = images[6]
    assert np.array_equal(corrupt(others, name, 3, 0)[6], whole[6])


@every_corruption
def test_only_random_corruptions_change_identical_images_differently(name):
    images = np.repeat(smooth_images(1), 300, axis=0)
    corrupted = corrupt(images, name, 5, 0)
    different = len(np.unique(corrupted, axis=0))
    assert different == {"shift": 4, "rotation": 2}.get(name, different if name in RANDOM else 1)
    assert (different > 1) == (name in RANDOM)
    assert np.array_equal(corrupt(images, name, 5, 1), corrupted) == (name not in RANDOM)
    same_blocks = np.array_equal(corrupted[:128], corrupted[128:256])  # each block has its own random stream
    assert same_blocks == (name not in RANDOM)


@pytest.mark.parametrize("name", ["gaussian_blur", "motion_blur", "contrast", "pixelate"])
@pytest.mark.parametrize("level", [0, 127, 255])
def test_images_of_one_colour_do_not_change(name, level):
    images = constant(level, 3, channels=3)
    assert np.array_equal(corrupt(images, name, 5, 0), images)


def test_gaussian_noise_has_the_standard_deviation_and_scales_the_same_draw():
    images = constant(128, 20)
    noise = {severity: corrupt(images, "gaussian_noise", severity, 0).astype(float) - 128 for severity in (1, 5)}
    assert noise[1].mean() == pytest.approx(0, abs=0.3)
    assert noise[1].std() == pytest.approx(0.04 * 255, rel=0.02)
    assert noise[5] == pytest.approx(2.5 * noise[1], abs=2)  # 0.10 / 0.04, both rounded


@pytest.mark.parametrize("photons", [3, 50, 500])
def test_shot_noise_counts_photons(photons):
    counts = corruptions.shot_noise(constant(51, 50), photons, generator()) * (photons / 255)  # a fifth of white
    assert counts.mean() == pytest.approx(photons / 5, rel=0.02)
    assert counts.var() == pytest.approx(photons / 5, rel=0.05)
    assert not corruptions.shot_noise(constant(0), photons, generator()).any()


def test_impulse_noise_is_half_black_half_white_and_hits_the_same_values_when_stronger():
    images = constant(100, 50)
    weak, strong = (corruptions.impulse_noise(images, fraction, generator()) for fraction in (0.1, 0.3))
    assert np.unique(strong).tolist() == [0, 100, 255]
    assert [np.mean(strong == level) for level in (0, 255)] == pytest.approx([0.15, 0.15], abs=0.01)
    assert np.array_equal(strong[weak != 100], weak[weak != 100])


def test_gaussian_blur_of_a_point_is_a_normal_density():
    images = constant(0, side=9)
    images[0, 4, 4] = 255
    blurred = corruptions.gaussian_blur(images, 1 / 9, generator())[0, :, :, 0]  # one pixel
    density = np.exp(-(np.arange(-4, 5) ** 2) / 2) / np.sqrt(2 * np.pi)
    assert blurred == pytest.approx(255 * np.outer(density, density), abs=0.6)


def test_motion_blur_is_one_sided_in_any_direction():
    images = constant(0, 400, side=21)
    images[:, 8:13, 8:13] = 250
    blurred = corruptions.motion_blur(images, 2 / 21, generator())[..., 0].astype(float)  # two pixels
    assert blurred.sum((1, 2)) == pytest.approx(250 * 25, rel=0.01)
    weights = np.exp(-(np.arange(7) ** 2) / 8)  # half a normal distribution
    position = np.arange(-10, 11)
    down, right = (np.einsum(f"nhw,{axis}->n", blurred, position) / (250 * 25) for axis in "hw")  # centres of mass
    assert np.hypot(down, right) == pytest.approx(np.arange(7) @ weights / weights.sum(), abs=0.02)
    assert [down.mean(), right.mean()] == pytest.approx([0, 0], abs=0.2)


def test_shift_moves_by_whole_pixels_and_fills_with_black():
    image = np.arange(1, 6 * 8 + 1, dtype=np.uint8).reshape(1, 6, 8, 1)
    shifted = corruptions.shift(image, 1 / 3, generator())[0]  # two rows, three columns
    padded = np.pad(image[0], ((4, 4), (6, 6), (0, 0)))
    windows = [padded[down : down + 6, right : right + 8] for down in (2, 6) for right in (3, 9)]
    assert [np.array_equal(shifted, window) for window in windows].count(True) == 1


def test_rotation_by_90_degrees_turns_either_way():
    images = smooth_images(50, channels=3)
    rotated = corruptions.rotation(images, 90, generator())
    is_turned = [
        [np.array_equal(after, np.rot90(before, turns)) for before, after in zip(images, rotated, strict=True)]
        for turns in (1, -1)
    ]
    assert np.all(np.sum(is_turned, 0) == 1)
    assert np.all(np.sum(is_turned, 1) > 10)


def test_rotation_has_black_corners_and_keeps_the_centre():
    rotated = corruptions.rotation(constant(200, side=11), 45, generator())[0, :, :, 0]
    assert not rotated[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert np.all(rotated[3:8, 3:8] == 200)


def test_scale_by_one_half_gives_means_of_2_x_2_pixels_on_black():
    images = smooth_images(2, side=4, channels=3)
    scaled = corruptions.scale(images, 0.5, generator())
    expected = np.zeros_like(images)
    expected[:, 1:3, 1:3] = np.rint(images.reshape(2, 2, 2, 2, 2, 3).mean((2, 4)))
    assert np.array_equal(scaled, expected)
    assert np.array_equal(corruptions.scale(images, 1, generator()), images)


def test_contrast_shrinks_towards_the_mean_of_each_channel():
    images = np.array([[10, 0], [20, 100]], np.uint8).reshape(1, 2, 1, 2)
    for factor, expected in ((1, [10, 0, 20, 100]), (0.4, [13, 30, 17, 70]), (0, [15, 50, 15, 50])):
        assert corruptions.contrast(images, factor, generator()).flatten().tolist() == expected


def test_brightness_is_added_up_to_white_and_keeps_the_hue():
    grey = np.array([0, 100, 204, 250], np.uint8).reshape(1, 2, 2, 1)
    assert corruptions.brightness(grey, 0.2, generator()).flatten().tolist() == [51, 151, 255, 255]
    colour = np.array([[100, 50, 0], [0, 0, 0], [250, 25, 0]], np.uint8).reshape(1, 3, 1, 3)
    expected = [[202, 101, 0], [102, 102, 102], [255, 26, 0]]
    assert corruptions.brightness(colour, 0.4, generator())[0, :, 0].tolist() == expected


def test_occlusion_is_one_box_of_the_given_size_anywhere():
    covered = corruptions.occlusion(np.zeros((500, 8, 6, 3), np.uint8), 0.5, generator())
    assert np.unique(covered).tolist() == [0, 128]
    assert np.all((covered == covered[..., :1]).all(3))
    assert np.all(covered[..., 0].any(2).sum(1) == 4)
    assert np.all(covered[..., 0].any(1).sum(1) == 3)
    assert np.all((covered[..., 0] > 0).sum((1, 2)) == 12)
    assert covered[:, [0, 0, -1, -1], [0, -1, 0, -1]].any((0, 2)).all()  # it reaches every corner


def test_stronger_occlusion_contains_the_weaker_one():
    covered = [corrupt(constant(0, 100), "occlusion", severity, 0) > 0 for severity in SEVERITIES]
    for weaker, stronger in pairwise(covered):
        assert np.all(stronger[weaker])


def test_jpeg_at_the_best_quality_is_close_to_the_image():
    images = smooth_images(5, channels=1)
    assert corruptions.jpeg(images, 100, generator()) == pytest.approx(images.astype(int), abs=2)
    assert np.abs(corruptions.jpeg(images, 5, generator()).astype(int) - images).max() > 10


def test_pixelate_by_one_half_gives_blocks_of_2_x_2_pixels():
    images = smooth_images(2, side=4, channels=3)
    means = np.rint(images.reshape(2, 2, 2, 2, 2, 3).mean((2, 4)))
    assert np.array_equal(corruptions.pixelate(images, 0.5, generator()), means.repeat(2, 1).repeat(2, 2))
