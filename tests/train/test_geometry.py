import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional

from darkroom.train import geometry


def random_images(n: int = 5, height: int = 6, width: int = 7, channels: int = 2) -> torch.Tensor:
    return torch.randint(
        256, (n, height, width, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_flip_mirrors_the_chosen_images_left_to_right():
    images = random_images(2)
    flipped = geometry.flip(images, torch.tensor([True, False]))
    assert torch.equal(flipped[0], images[0].flip(1))
    assert torch.equal(flipped[1], images[1])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 10_000))
def test_first_flips_of_some_images_do_not_depend_on_the_others(n: int, more: int, seed: int):
    flips = geometry.first_flips(n + more, generator(seed))
    assert torch.equal(geometry.first_flips(n, generator(seed)), flips[:n])


def test_first_flips_mirror_about_half_of_the_images():
    assert 450 < int(geometry.first_flips(1000, generator(7)).sum()) < 550


def test_shift_moves_down_and_right_and_fills_with_black():
    images = random_images(1)
    moved = geometry.shift(images, torch.tensor([[2, -1]]), 2)
    assert torch.equal(moved[0, 2:, :-1], images[0, :-2, 1:])
    assert not moved[0, :2].any()
    assert not moved[0, :, -1].any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3), st.integers(1, 4), st.integers(0, 10_000))
def test_shift_by_0_changes_nothing_and_a_shift_back_restores_the_centre(reach: int, n: int, seed: int):
    images = random_images(n, 8, 8)
    offsets = torch.randint(-reach, reach + 1, (n, 2), generator=generator(seed))
    centre = slice(reach, 8 - reach)
    assert torch.equal(geometry.shift(images, offsets * 0, reach), images)
    back = geometry.shift(geometry.shift(images, offsets, reach), -offsets, reach)
    assert torch.equal(back[:, centre, centre], images[:, centre, centre])


def test_erase_fills_only_the_box():
    images = random_images(2)
    erased = geometry.erase(images, torch.tensor([[1, 2, 4, 5], [0, 0, 0, 7]]), torch.tensor([3, 9], dtype=torch.uint8))
    expected = images.clone()
    expected[0, 1:4, 2:5] = torch.tensor([3, 9], dtype=torch.uint8)
    assert torch.equal(erased, expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000))
def test_random_boxes_lie_inside_the_image(height: int, width: int, seed: int):
    boxes = geometry.random_boxes(50, height, width, 1.0, generator(seed))
    top, left, bottom, right = boxes.T
    assert ((top >= 0) & (top < bottom) & (bottom <= height)).all()
    assert ((left >= 0) & (left < right) & (right <= width)).all()


def test_random_boxes_occur_with_the_given_probability():
    boxes = geometry.random_boxes(4000, 28, 28, 0.25, generator())
    fraction = (boxes[:, 2] > boxes[:, 0]).double().mean().item()
    assert 0.22 < fraction < 0.28
    areas = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[boxes[:, 2] > boxes[:, 0]] / 28**2
    assert areas.max() < 0.4


@pytest.mark.parametrize("window", [(0, 0, 30, 20), (5, 1, 11, 17), (29, 19, 1, 1)])  # shrinks, enlarges, one pixel
@pytest.mark.parametrize("channels", [1, 3])
def test_crop_is_the_resized_crop_of_torchvision(window: tuple[int, ...], channels: int):
    images = random_images(3, 30, 20, channels)
    cropped = geometry.crop(images, torch.tensor([[0, 0, 30, 20], window, window]), (13, 14))
    assert cropped.is_contiguous()
    for image, found, box in zip(images, cropped, [(0, 0, 30, 20), window, window], strict=True):
        expected = functional.resized_crop(image.movedim(2, 0), *box, [13, 14], antialias=True)
        assert torch.equal(found.movedim(2, 0), expected)


def test_crop_of_the_whole_image_in_its_size_changes_nothing():
    images = random_images(2, 9, 8, 3)
    assert torch.equal(geometry.crop(images, torch.tensor([[0, 0, 9, 8]] * 2), (9, 8)), images)
    assert geometry.crop(images[:0], torch.zeros(0, 4, dtype=torch.long), (5, 4)).shape == (0, 5, 4, 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 80), st.integers(1, 80), st.floats(0.01, 1), st.floats(1, 10), st.integers(0, 10_000))
def test_random_crops_keep_their_bounds(height: int, width: int, min_area: float, max_aspect: float, seed: int):
    windows = geometry.random_crops(50, (height, width), min_area, max_aspect, generator(seed))
    top, left, h, w = windows.T
    assert windows.dtype == torch.long
    assert ((top >= 0) & (h >= 1) & (top + h <= height)).all()
    assert ((left >= 0) & (w >= 1) & (left + w <= width)).all()
    h_largest, w_largest = (h + 0.501).clamp(max=height), (w + 0.501).clamp(max=width)  # sides are rounded
    assert (h_largest * w_largest >= min_area * height * width * 0.999).all()
    assert ((w - 1) / width <= max_aspect * h_largest / height).all()
    assert ((h - 1) / height <= max_aspect * w_largest / width).all()


def test_random_crops_have_areas_and_aspects_of_the_whole_range():
    top, left, h, w = geometry.random_crops(4000, (1000, 1000), 0.25, 4 / 3, generator()).T
    area, aspect = h * w / 1e6, (w / h).log()
    assert area.min() < 0.26 and area.max() > 0.99
    assert abs(area.mean() - 0.625) < 0.01
    assert abs(aspect.mean()) < 0.01
    assert aspect[area < 0.7].abs().max() > 0.98 * torch.tensor(4 / 3).log()
    assert abs((top[h < 900] / (1000 - h[h < 900])).mean() - 0.5) < 0.02
    assert abs((left[w < 900] / (1000 - w[w < 900])).mean() - 0.5) < 0.02
    same = geometry.random_crops(100, (1000, 500), 0.25, 1.0, generator())
    assert (same[:, 2] - 2 * same[:, 3]).abs().max() <= 2  # as the image
