import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.train import augmentation


def random_images(n: int = 5, height: int = 6, width: int = 7, channels: int = 2) -> torch.Tensor:
    return torch.randint(
        256, (n, height, width, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_flip_mirrors_the_chosen_images_left_to_right():
    images = random_images(2)
    flipped = augmentation.flip(images, torch.tensor([True, False]))
    assert torch.equal(flipped[0], images[0].flip(1))
    assert torch.equal(flipped[1], images[1])


def test_alternating_flips_mirror_each_image_in_one_of_two_epochs():
    indices = torch.randperm(100, generator=generator())
    first, second, third = (augmentation.alternating_flips(indices, epoch, generator(7)) for epoch in range(3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 30 < int(first.sum()) < 70


def test_alternating_flips_do_not_depend_on_the_batch():
    order = torch.arange(10)
    whole = augmentation.alternating_flips(order, 0, generator(7))
    assert torch.equal(augmentation.alternating_flips(order[[9, 3]], 0, generator(7)), whole[[9, 3]])
    assert torch.equal(augmentation.alternating_flips(order[:4], 0, generator(7)), whole[:4])


def test_shift_moves_down_and_right_and_fills_with_black():
    images = random_images(1)
    moved = augmentation.shift(images, torch.tensor([[2, -1]]))
    assert torch.equal(moved[0, 2:, :-1], images[0, :-2, 1:])
    assert not moved[0, :2].any()
    assert not moved[0, :, -1].any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3), st.integers(1, 4), st.integers(0, 10_000))
def test_shift_by_0_changes_nothing_and_a_shift_back_restores_the_centre(reach: int, n: int, seed: int):
    images = random_images(n, 8, 8)
    offsets = torch.randint(-reach, reach + 1, (n, 2), generator=generator(seed))
    centre = slice(reach, 8 - reach)
    assert torch.equal(augmentation.shift(images, offsets * 0), images)
    assert torch.equal(
        augmentation.shift(augmentation.shift(images, offsets), -offsets)[:, centre, centre], images[:, centre, centre]
    )


def test_erase_fills_only_the_box():
    images = random_images(2)
    erased = augmentation.erase(
        images, torch.tensor([[1, 2, 4, 5], [0, 0, 0, 7]]), torch.tensor([3, 9], dtype=torch.uint8)
    )
    expected = images.clone()
    expected[0, 1:4, 2:5] = torch.tensor([3, 9], dtype=torch.uint8)
    assert torch.equal(erased, expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000))
def test_random_boxes_lie_inside_the_image(height: int, width: int, seed: int):
    boxes = augmentation.random_boxes(50, height, width, 1.0, generator(seed))
    top, left, bottom, right = boxes.T
    assert ((top >= 0) & (top < bottom) & (bottom <= height)).all()
    assert ((left >= 0) & (left < right) & (right <= width)).all()


def test_random_boxes_occur_with_the_given_probability():
    boxes = augmentation.random_boxes(4000, 28, 28, 0.25, generator())
    fraction = (boxes[:, 2] > boxes[:, 0]).double().mean().item()
    assert 0.22 < fraction < 0.28
    areas = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[boxes[:, 2] > boxes[:, 0]] / 28**2
    assert areas.max() < 0.4


def test_crop_enlarges_a_window_and_the_whole_image_stays_unchanged():
    images = torch.arange(64.0).reshape(1, 1, 8, 8)
    assert torch.allclose(augmentation.crop(images, torch.tensor([[1.0, 0.0, 0.0]])), images, atol=1e-4)
    enlarged = augmentation.crop(images, torch.tensor([[0.5, -0.5, 0.5]]))  # left and below
    assert torch.allclose(enlarged[0, 0, 3:5, 3:5].mean(), images[:, :, 4:, :4].mean())
    assert enlarged[0, 0, 1, 1] == images[0, 0, 4, 0] + 0.25 * 9


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 1.0), st.integers(0, 10_000))
def test_random_crops_lie_inside_the_image_and_are_large_enough(min_area: float, seed: int):
    windows = augmentation.random_crops(50, min_area, generator(seed))
    assert ((windows[:, :1] + windows[:, 1:].abs()) <= 1 + 1e-6).all()
    assert (windows[:, 0] ** 2 >= min_area - 1e-6).all()


def test_mixup_blends_by_the_weight():
    images = torch.tensor([0.0, 10.0]).reshape(2, 1, 1, 1)
    assert torch.allclose(augmentation.mixup(images, torch.tensor([1, 0]), 0.75).flatten(), torch.tensor([2.5, 7.5]))


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_cutmix_returns_the_fraction_of_own_pixels(weight: float, x: float, y: float):
    images = torch.stack([torch.zeros(2, 9, 7), torch.ones(2, 9, 7)])
    mixed, kept = augmentation.cutmix(images, torch.tensor([1, 0]), weight, x, y)
    assert abs((1 - mixed[0].mean().item()) - kept) < 1e-6
    assert abs(mixed[1].mean().item() - kept) < 1e-6


def test_cutmix_box_in_the_centre_has_the_stated_area():
    images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    mixed, kept = augmentation.cutmix(images, torch.tensor([1, 0]), 0.75, 0.5, 0.5)
    assert kept == 0.75
    assert torch.equal(mixed[0, 0, 2:6, 2:6], torch.ones(4, 4))
