import numpy as np
import pytest
from torch import nn

from darkroom.explain import attribution
from darkroom.explain.attribution import METHODS, Calibrated, attributions
from darkroom.explain.budget import Detail
from darkroom.models import inference
from darkroom.models.inference import predict
from darkroom.models.registry import OF_IMAGES
from tests.explain.toys import UNSCALED, Spot, Square, noise, pooled, spots
from tests.networks import small


def test_temperature_scales_logits_and_maps():
    images, network, targets = noise(), pooled(), np.array([0, 1, 1])
    calibrated = Calibrated(network, 0.5)
    np.testing.assert_allclose(predict(calibrated, images, *UNSCALED), 2 * predict(network, images, *UNSCALED), 1e-6)
    before, after = (attributions(some, images, targets, *UNSCALED) for some in (network, calibrated))
    assert list(before) == list(after) == list(METHODS)
    for name in METHODS:
        np.testing.assert_allclose(after[name], 2 * before[name], rtol=1e-5, atol=1e-6)


def test_integrated_gradients_of_a_linear_network():
    images, targets = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 2), dtype=np.uint8), np.array([3, 0, 1])
    network = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6 * 5, 4))
    maps = attributions(network, images, targets, (0.4, 0.5), (0.2, 0.3))["integrated_gradients"]
    weights = network[1].weight.detach().numpy()[targets].reshape(3, 2, 6, 5)
    expected = weights[:, 0] * images[..., 0] / 255 / 0.2 + weights[:, 1] * images[..., 1] / 255 / 0.3
    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_integrated_gradients_of_a_square_sum_to_the_difference_of_the_logits():
    images = noise()
    maps = attributions(Square(), images, np.zeros(3, np.int64), (0.4,), (0.2,))["integrated_gradients"]
    pixels, black = (images[..., 0] / 255 - 0.4) / 0.2, np.full((14, 14), -2)
    total = pixels.sum((1, 2)) + black.sum()
    np.testing.assert_allclose(maps, (pixels - black) * total[:, None, None], rtol=1e-4)
    np.testing.assert_allclose(maps.sum((1, 2)), pixels.sum((1, 2)) ** 2 - black.sum() ** 2, rtol=1e-4)


def test_grad_cam_before_global_pooling_is_the_class_activation_map():
    """Zhou et al., "Learning deep features for discriminative localization", CVPR 2016; negative values become 0."""
    images = noise(2)
    maps = attributions(pooled(), images, np.array([0, 1]), (0.5,), (1.0,))["grad_cam"]
    pixels = images[..., 0] / 255 - 0.5
    np.testing.assert_allclose(maps[0], 2 * pixels[0].clip(0) / 14**2, atol=1e-6)
    np.testing.assert_allclose(maps[1], 3 * (-pixels[1]).clip(0) / 14**2, atol=1e-6)


def test_occlusion_finds_the_pixel_that_the_network_uses():
    maps = attributions(Spot(), spots(), np.array([1, 0]), *UNSCALED)["occlusion"]
    expected = np.zeros((14, 14))
    # The logit drops by 1000 for each of the windows of 2 x 2 that contain the pixel; the others dilute the mean.
    expected[4:7, 1:4] = [[250, 500, 250], [500, 1000, 500], [250, 500, 250]]
    np.testing.assert_allclose(maps, [expected, -expected])


def test_occlusion_covers_with_black_on_the_scale_of_the_network():
    """A mean of 1 makes white 0 and black -1: covering a white image lowers the sum of its pixels."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(14 * 14, 2, bias=False))
    nn.init.ones_(network[1].weight)
    maps = attributions(network, np.full((1, 14, 14, 1), 255, np.uint8), np.array([1]), (1.0,), (1.0,))["occlusion"]
    np.testing.assert_allclose(maps, np.full((1, 14, 14), 4), atol=1e-4)  # of the four pixels of a window


def test_large_images_get_the_same_maps_in_small_batches(monkeypatch: pytest.MonkeyPatch):
    images, network, sizes = noise(), pooled(), []
    arguments = network, images, np.array([0, 1, 1]), *UNSCALED
    expected = attributions(*arguments)
    network.register_forward_hook(lambda layer, given, output: sizes.append(len(output)))
    monkeypatch.setattr(attribution, "_MAX_PIXELS", 14 * 14)
    monkeypatch.setattr(inference, "CPU_PIXELS", 5 * 14 * 14)
    for name, values in attributions(*arguments).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)
    assert max(sizes) == 5


def test_coarser_maps_take_fewer_steps_and_windows():
    """The sum of integrated gradients stays the difference of the logits, which is a polynomial here."""
    images, coarse = noise(), Detail(gradient_steps=4, windows_per_side=4, curve_steps=4)
    maps = attributions(Square(), images, np.zeros(3, np.int64), (0.4,), (0.2,), coarse)
    total = ((images[..., 0] / 255 - 0.4) / 0.2).sum((1, 2))
    np.testing.assert_allclose(maps["integrated_gradients"].sum((1, 2)), total**2 - (2 * 14**2) ** 2, rtol=1e-4)
    assert len(np.unique(maps["occlusion"][0].round(3))) <= 9 * 9  # 4 windows a side divide it into at most 9 parts
    assert (
        len(np.unique(attributions(Square(), images, np.zeros(3, np.int64), *UNSCALED)["occlusion"][0].round(3))) > 81
    )


@pytest.mark.parametrize("name", OF_IMAGES)
def test_every_family_is_explained(name: str):
    network = small(name, (32, 30, 3)).train()
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 30, 3), dtype=np.uint8)
    images.flags.writeable = False
    maps = attributions(network, images, np.array([2, 0]), (0.5,) * 3, (0.2,) * 3)
    assert list(maps) == [method for method in METHODS if name != "lstm" or method != "grad_cam"]
    for values in maps.values():
        assert values.shape == (2, 32, 30) and values.dtype == np.float32 and np.isfinite(values).all()
    assert not network.training
    assert all(weight.grad is None for weight in network.parameters())
    assert not any(layer._forward_hooks for layer in network.modules())
