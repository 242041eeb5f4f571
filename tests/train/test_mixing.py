import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.train import mixing


def test_mixup_blends_by_the_weight():
    images = torch.tensor([0.0, 10.0]).reshape(2, 1, 1, 1)
    assert torch.allclose(mixing.mixup(images, images.flip(0), 0.75).flatten(), torch.tensor([2.5, 7.5]))


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_cutmix_returns_the_fraction_of_own_pixels(weight: float, x: float, y: float):
    images = torch.stack([torch.zeros(2, 9, 7), torch.ones(2, 9, 7)])
    mixed, kept = mixing.cutmix(images, images.flip(0), weight, x, y)
    assert abs((1 - mixed[0].mean().item()) - kept) < 1e-6
    assert abs(mixed[1].mean().item() - kept) < 1e-6


def test_cutmix_box_in_the_centre_has_the_stated_area():
    images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    mixed, kept = mixing.cutmix(images, images.flip(0), 0.75, 0.5, 0.5)
    assert kept == 0.75
    assert torch.equal(mixed[0, 0, 2:6, 2:6], torch.ones(4, 4))


def test_each_example_is_the_partner_of_one_other_and_alphas_of_0_switch_off():
    drawn = [mixing.draw(9, 0.4, 1.0, np.random.default_rng(seed)) for seed in range(30)]
    assert {one.method for one in drawn} == {"mixup", "cutmix"}
    assert all(one.partners.sort().values.tolist() == list(range(9)) for one in drawn)
    assert all(mixing.draw(9, 0.4, 0.0, np.random.default_rng(seed)).method == "mixup" for seed in range(9))
    assert all(mixing.draw(9, 0.0, 1.0, np.random.default_rng(seed)).method == "cutmix" for seed in range(9))
    assert mixing.draw(9, 0.0, 0.0, np.random.default_rng(0)) is None


def test_mix_returns_the_weight_of_the_own_labels():
    images, others = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    partners = torch.tensor([1, 0])
    for method in ("mixup", "cutmix"):
        mixed, weight = mixing.mix(mixing.Mixing(method, 0.75, partners, (0.5, 0.5)), images, others)
        assert weight == 0.75
        assert mixed.mean() == 0.25
