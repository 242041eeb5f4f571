import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darkroom.explain import attribution, occlusion


def test_the_windows_of_a_small_picture_are_those_of_training():
    windows = occlusion.windows(28, 28)
    assert len(windows) == 13 * 13
    assert (
        windows[0] == (slice(0, 4), slice(0, 4))
        and windows[1] == (slice(0, 4), slice(2, 6))
        and windows[-1] == (slice(24, 28), slice(24, 28))
    )


@given(st.integers(1, 1024), st.integers(1, 1024))
def test_windows_cover_every_pixel_and_their_work_is_bounded(height: int, width: int):
    windows = occlusion.windows(height, width)
    rows, columns = ({(span.start, span.stop) for span in spans} for spans in zip(*windows, strict=True))
    assert len(windows) == len(rows) * len(columns) <= 169  # each row of windows has all columns
    for side, spans in ((height, rows), (width, columns)):
        assert {pixel for span in spans for pixel in range(*span)} == set(range(side))
    assert len(windows) * height * width <= occlusion.PIXELS


def test_a_picture_is_covered_a_window_at_a_time_and_kept():
    image = np.full((2, 2, 3), 9, np.uint8)
    images = occlusion.covered(image, [(slice(0, 1), slice(0, 2)), (slice(1, 2), slice(1, 2))])
    assert images[..., 0].tolist() == [[[9, 9], [9, 9]], [[0, 0], [9, 9]], [[9, 9], [9, 0]]]
    assert image.min() == 9


def test_a_pixel_has_the_mean_of_the_windows_that_hold_it():
    windows = [(slice(0, 1), slice(0, 2)), (slice(0, 1), slice(1, 3))]
    found = occlusion.falls(np.array([5.0, 1.0, 7.0]), windows, 1, 3)  # falls by 4, and rises by 2
    assert found.tolist() == [[4, 1, -2]]


def test_log_odds_are_of_the_softmax_and_never_lost():
    logits = np.log(np.array([[8, 1, 1], [1, 1, 2]], np.float32))
    assert occlusion.log_odds(logits, 0) == pytest.approx(np.log([8 / 2, 1 / 3]))
    sure = np.array([[1000, 0], [999, 0]], np.float32)  # whose probabilities are both 1
    assert occlusion.log_odds(sure, 0).tolist() == [1000, 999]


@pytest.mark.parametrize("side", [7, 14, 28])
def test_it_is_the_map_of_training(side: int):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(side * side, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)
    ).eval()
    image = np.random.default_rng(0).integers(256, size=(side, side, 1), dtype=np.uint8)

    def tensor(images: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(images).permute(0, 3, 1, 2) / 255

    windows = occlusion.windows(side, side)
    with torch.no_grad():
        scores = network(tensor(occlusion.covered(image, windows)))[:, 2].numpy()
    expected = attribution.occlusion(network, tensor(image[None]), torch.zeros(1, 1, side, side), 2)
    assert occlusion.falls(scores, windows, side, side) == pytest.approx(expected.detach().numpy(), abs=1e-6)
