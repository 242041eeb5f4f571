import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional

from darkroom.train import colour_jitter
from tests.train.test_geometry import generator, random_images

THEIRS = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("number", range(3))
def test_operations_are_those_of_torchvision(number: int, channels: int):
    images = random_images(6, 7, 9, channels)
    factors = torch.tensor([0.0, 0.5, 1.0, 1.25, 1.75, 2.0])  # exact in binary, so rounding is the same
    found = colour_jitter.OPERATIONS[number](images, factors)
    for image, own, factor in zip(images, found, factors.tolist(), strict=True):
        assert torch.equal(own.movedim(2, 0), THEIRS[number](image.movedim(2, 0), factor))


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(3)), st.floats(0, 1), st.integers(0, 10_000))
def test_jitter_is_that_of_torchvision_up_to_rounding(order: list[int], strength: float, seed: int):
    images = random_images(4, 5, 6, 3)
    factors = colour_jitter.random_factors(4, strength, generator(seed))
    assert ((factors - 1).abs() <= strength + 1e-6).all()
    found = colour_jitter.jitter(images, factors, torch.tensor(order))
    for image, own, drawn in zip(images, found, factors.tolist(), strict=True):
        expected = image.movedim(2, 0)
        for number in order:
            expected = THEIRS[number](expected, drawn[number])
        # A value that is truncated differently by one operation is off by up to two grey levels after the others.
        assert (own.movedim(2, 0).int() - expected.int()).abs().max() <= 4


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(3)), st.sampled_from([1, 3]))
def test_no_strength_is_the_identity(order: list[int], channels: int):
    images = random_images(3, 5, 4, channels)
    factors = colour_jitter.random_factors(3, 0.0, generator())
    assert torch.equal(colour_jitter.jitter(images, factors, torch.tensor(order)), images)


def test_the_mean_of_large_images_does_not_depend_on_the_order_of_summation():
    images = random_images(2, 700, 600, 3)
    whole = colour_jitter.contrast(images, torch.tensor([0.3, 0.3]))
    assert torch.equal(whole[1:], colour_jitter.contrast(images[1:], torch.tensor([0.3])))
