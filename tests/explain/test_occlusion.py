import subprocess
import sys

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from hypothesis import given
from hypothesis import strategies as st

from darkroom.explain import attribution, occlusion


def test_windows_of_a_small_image():
    windows = occlusion.windows(28, 28)
    assert len(windows) == 13 * 13
    assert windows[0] == (slice(0, 4), slice(0, 4))
    assert windows[1] == (slice(0, 4), slice(2, 6))
    assert windows[-1] == (slice(24, 28), slice(24, 28))


@given(st.integers(1, 1024), st.integers(1, 1024))
def test_windows_cover_every_pixel_with_bounded_work(height: int, width: int):
    windows = occlusion.windows(height, width)
    rows, columns = ({(span.start, span.stop) for span in spans} for spans in zip(*windows, strict=True))
    assert len(windows) == len(rows) * len(columns) <= 169  # every row of windows has every column
    for side, spans in ((height, rows), (width, columns)):
        assert {pixel for span in spans for pixel in range(*span)} == set(range(side))
    assert len(windows) * height * width <= occlusion.MAX_PIXELS


def test_one_window_at_a_time_is_covered():
    image = np.full((2, 2, 3), 9, np.uint8)
    windows = [(slice(0, 1), slice(0, 2)), (slice(1, 2), slice(1, 2))]
    images = occlusion.covered(image, windows)
    assert images.dtype == np.uint8
    assert images[..., 0].tolist() == [[[9, 9], [9, 9]], [[0, 0], [9, 9]], [[9, 9], [9, 0]]]
    assert image.min() == 9
    assert occlusion.covered(image, windows, np.array([1, 2, 3]))[1, 0].tolist() == [[1, 2, 3], [1, 2, 3]]


def test_windows_that_change_nothing_are_answered_once():
    image = np.zeros((2, 4, 1), np.uint8)
    image[0, 3] = 9
    windows = [(slice(0, 2), slice(0, 2)), (slice(0, 1), slice(2, 4)), (slice(1, 2), slice(3, 4))]
    images, indices = occlusion.distinct(occlusion.covered(image, windows))
    assert images[..., 0].tolist() == [[[0, 0, 0, 9], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]]
    assert indices.tolist() == [0, 0, 1, 0]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
def test_distinct_images_give_back_all(seed: int, fill: int):
    images = occlusion.covered(
        np.random.default_rng(seed).integers(3, size=(3, 4, 1), dtype=np.uint8), occlusion.windows(3, 4), fill
    )
    found, indices = occlusion.distinct(images)
    assert np.array_equal(found[indices], images)
    assert all((one != images[0]).any() for one in found[1:])


def test_a_pixel_has_the_mean_drop_of_its_windows():
    windows = [(slice(0, 1), slice(0, 2)), (slice(0, 1), slice(1, 3))]
    drops = occlusion.score_drops(np.array([5.0, 1.0, 7.0]), windows, 1, 3)  # drops by 4, and rises by 2
    assert drops.tolist() == [[4, 1, -2]]


def test_log_odds_are_those_of_the_softmax_and_do_not_saturate():
    logits = np.log(np.array([[8, 1, 1], [1, 1, 2]], np.float32))
    assert occlusion.log_odds(logits, 0) == pytest.approx(np.log([8 / 2, 1 / 3]))
    saturated = np.array([[1000, 0], [999, 0]], np.float32)  # both probabilities are 1 after rounding
    assert occlusion.log_odds(saturated, 0).tolist() == [1000, 999]


@pytest.mark.parametrize("side", [7, 14, 28])
def test_maps_are_those_of_captum(side: int):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(side * side, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)
    )
    images = np.random.default_rng(0).integers(256, size=(2, side, side, 1), dtype=np.uint8)
    mean, std = (0.3,), (0.4,)
    maps = attribution.attributions(network, images, np.array([2, 0]), mean, std)["occlusion"]
    inputs = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean[0]) / std[0]
    window, stride = side // 7, max(1, side // 14)
    expected = Occlusion(network).attribute(
        inputs, (1, window, window), (1, stride, stride), -mean[0] / std[0], torch.tensor([2, 0])
    )
    assert maps == pytest.approx(expected[:, 0].detach().numpy(), abs=1e-5)


def test_the_service_can_use_it_without_pytorch():
    code = "import sys; import darkroom.explain.occlusion; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
