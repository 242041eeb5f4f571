from itertools import pairwise

import numpy as np
import pytest

from darkroom.explain import attribution, faithfulness
from darkroom.explain.budget import DETAILS, ENOUGH, FINEST, SECONDS, Detail, plan
from tests.explain.toys import UNSCALED, pooled


def total(detail: Detail, count: int, side: int, shown: int) -> int:
    """The forward passes for all maps and curves."""
    maps = detail.map_passes(side, side)
    return (shown + count) * maps + count * detail.curve_passes()


def test_small_images_get_everything():
    """The default network takes nominal 0.00017 s for 28 x 28."""
    assert plan(0.00017, 28, 28, 15, 200) == (FINEST, 200)
    assert FINEST.notes(28, 28) == []
    assert FINEST.metrics(28, 28) == {
        "integrated_gradients_steps": 32,
        "occlusion_windows": 169,
        "faithfulness_steps": 12,
    }


def test_a_larger_network_gets_fewer_images_and_then_less_detail():
    """efficientnet_lite0 takes nominal 0.011 s for 224 x 224, ResNet-50 0.05 s, ViT-B/16 0.2 s."""
    assert plan(0.002, 224, 224, 15, 200)[0] == FINEST
    found = [plan(seconds, 224, 224, 15, 200) for seconds in (0.002, 0.011, 0.05, 0.2)]
    assert [DETAILS.index(detail) for detail, _ in found] == [0, 2, 4, 4]
    assert [count for _, count in found] == [82, 24, 8, 2]
    detail, _ = found[1]
    assert detail.metrics(224, 224) == {
        "integrated_gradients_steps": 12,
        "occlusion_windows": 49,
        "faithfulness_steps": 6,
    }
    (note,) = detail.notes(224, 224)
    assert all(text in note for text in ("12 steps", "49 windows", "6 steps"))


@pytest.mark.parametrize("side", [28, 64, 224, 512])
@pytest.mark.parametrize("seconds", [1e-5, 1e-3, 1e-2, 1e-1, 10.0])
@pytest.mark.parametrize("wanted", [2, 10, 200])
def test_the_work_is_bounded(seconds: float, side: int, wanted: int):
    detail, count = plan(seconds, side, side, 15, wanted)
    assert 2 <= count <= wanted
    assert count == 2 or total(detail, count, side, 15) * seconds <= SECONDS
    if count < min(wanted, ENOUGH):
        assert detail == DETAILS[-1]


def test_each_detail_is_coarser_than_the_one_before():
    for finer, coarser in pairwise(DETAILS):
        assert total(finer, 20, 28, 15) > total(coarser, 20, 28, 15)


@pytest.mark.parametrize("side", [14, 28, 64, 160])
@pytest.mark.parametrize("detail", DETAILS)
def test_maps_and_curves_take_the_passes_that_are_counted(detail: Detail, side: int):
    """Integrated gradients and Grad-CAM run the network forward and backward, which counts as three."""
    seen = []
    network = pooled()
    network.register_forward_hook(lambda layer, given, output: seen.append((len(output), output.requires_grad)))
    images, targets = np.full((1, side, side, 1), 255, np.uint8), np.array([0])

    def passes() -> int:
        work = sum(count * (3 if gradients else 1) for count, gradients in seen)
        seen.clear()
        return work

    maps = attribution.attributions(network, images, targets, *UNSCALED, detail)
    assert passes() == detail.map_passes(side, side) + 1  # and one to find the last feature map
    faithfulness.measure(network, images, targets, maps, *UNSCALED, seed=0, detail=detail)
    assert passes() == detail.curve_passes()
