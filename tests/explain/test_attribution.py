from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from darkroom.explain import faithfulness, figure
from darkroom.explain.attribution import METHODS, Calibrated, areas, attributions, choose
from darkroom.figures import drawing
from darkroom.models.inference import predict
from darkroom.models.registry import FAMILIES, build

PLAIN = ((0.0,), (1.0,))  # mean and deviation that leave pixels on the scale 0..1


class Spot(nn.Module):
    """Two classes; the second where the pixel at row 5, column 2 is bright, whatever the others are."""

    def __init__(self):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(1000.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = self.sharpness * (images[:, 0, 5, 2] - 0.5)
        return torch.stack([-bright, bright], 1)


class Square(nn.Module):
    """One class, whose logit is the square of the sum of the pixels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.sum((2, 3)) ** 2


def pooled() -> nn.Module:
    """A convolution gives the picture and its negative; then ReLU, the mean of each, and a linear layer."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, bias=False)
    )
    network[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    network[4].weight.data = torch.tensor([[2.0, -1.0], [0.0, 3.0]])
    return network


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 14, 14, 1), dtype=np.uint8)


@pytest.fixture
def spots() -> np.ndarray:
    """Two black pictures whose pixel at row 5, column 2 is white."""
    images = np.zeros((2, 14, 14, 1), np.uint8)
    images[:, 5, 2] = 255
    return images


def answers(confidence: list[float], predicted: list[int]) -> np.ndarray:
    """Probabilities of three classes, that of each prediction as given."""
    rest = (1 - np.array(confidence)) / 2
    probabilities = np.repeat(rest[:, None], 3, axis=1)
    probabilities[np.arange(len(predicted)), predicted] = confidence
    return probabilities


def test_the_right_ones_take_turns_by_class_then_come_the_mistakes_then_the_least_sure():
    probabilities = answers([0.99, 0.98, 0.7, 0.9, 0.8, 0.6, 0.4, 0.5], [0, 0, 1, 1, 2, 2, 0, 0])
    labels = np.array([0, 0, 1, 0, 0, 0, 0, 0])
    assert choose(probabilities, labels, 2).tolist() == [0, 2, 3, 4, 6, 7]
    assert choose(probabilities, labels, 1).tolist() == [0, 3, 6]


@pytest.mark.parametrize(
    ("predicted", "chosen"),
    [
        ([0, 0, 0], [0, 1, 2]),  # no mistake
        ([1, 1, 1], [0, 1, 2]),  # nothing right
        ([0, 1, 0], [0, 2, 1]),  # everything is chosen before the least sure come
    ],
)
def test_where_there_are_fewer_none_comes_twice(predicted: list[int], chosen: list[int]):
    assert choose(answers([0.9, 0.8, 0.7], predicted), np.zeros(3, np.int64), 5).tolist() == chosen


def test_equally_sure_ones_come_in_order():
    assert choose(answers([0.9] * 4, [0, 0, 1, 1]), np.zeros(4, np.int64), 1).tolist() == [0, 2, 3]


def test_a_calibrated_network_is_as_sure_as_it_should_be_and_looks_at_the_same(noise: np.ndarray):
    network, targets = pooled(), np.array([0, 1, 1])
    calibrated = Calibrated(network, 0.5)
    np.testing.assert_allclose(predict(calibrated, noise, *PLAIN), 2 * predict(network, noise, *PLAIN), rtol=1e-6)
    before, after = (attributions(some, noise, targets, *PLAIN) for some in (network, calibrated))
    assert list(before) == list(after) == list(METHODS)
    for name in METHODS:
        np.testing.assert_allclose(after[name], 2 * before[name], rtol=1e-5, atol=1e-6)


def test_integrated_gradients_of_a_linear_network_are_known():
    images, targets = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 2), dtype=np.uint8), np.array([3, 0, 1])
    network = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6 * 5, 4))
    found = attributions(network, images, targets, (0.4, 0.5), (0.2, 0.3))["integrated gradients"]
    weights = network[1].weight.detach().numpy()[targets].reshape(3, 2, 6, 5)
    np.testing.assert_allclose(
        found, weights[:, 0] * images[..., 0] / 255 / 0.2 + weights[:, 1] * images[..., 1] / 255 / 0.3, atol=1e-5
    )


def test_integrated_gradients_of_a_square_are_known_and_sum_to_the_difference_of_the_logits(noise: np.ndarray):
    found = attributions(Square(), noise, np.zeros(3, np.int64), (0.4,), (0.2,))["integrated gradients"]
    pixels, black = (noise[..., 0] / 255 - 0.4) / 0.2, np.full((14, 14), -2)
    total = pixels.sum((1, 2)) + black.sum()
    np.testing.assert_allclose(found, (pixels - black) * total[:, None, None], rtol=1e-4)
    np.testing.assert_allclose(found.sum((1, 2)), pixels.sum((1, 2)) ** 2 - black.sum() ** 2, rtol=1e-4)


def test_grad_cam_before_a_mean_is_the_class_activation_map(noise: np.ndarray):
    """Zhou et al., "Learning deep features for discriminative localization", CVPR 2016; what speaks against the class is 0."""
    found = attributions(pooled(), noise[:2], np.array([0, 1]), (0.5,), (1.0,))["Grad-CAM"]
    pixels = noise[:2, ..., 0] / 255 - 0.5
    np.testing.assert_allclose(found[0], 2 * pixels[0].clip(0) / 14**2, atol=1e-6)
    np.testing.assert_allclose(found[1], 3 * (-pixels[1]).clip(0) / 14**2, atol=1e-6)


def test_occlusion_finds_the_pixel_that_the_network_looks_at(spots: np.ndarray):
    found = attributions(Spot(), spots, np.array([1, 0]), *PLAIN)["occlusion"]
    expected = np.zeros((14, 14))
    expected[4:7, 1:4] = [
        [250, 500, 250],
        [500, 1000, 500],
        [250, 500, 250],
    ]  # of four windows of 2 x 2, so many cover it
    np.testing.assert_allclose(found, [expected, -expected])


@pytest.mark.parametrize("name", FAMILIES)
def test_every_network_is_explained(name: str):
    torch.manual_seed(0)
    network, images = (
        build(name, {"width": 4}, (12, 10, 3), 3).train(),
        np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3), dtype=np.uint8),
    )
    images.flags.writeable = False
    found = attributions(network, images, np.array([2, 0]), (0.5,) * 3, (0.2,) * 3)
    assert list(found) == [method for method in METHODS if name != "lstm" or method != "Grad-CAM"]
    for maps in found.values():
        assert maps.shape == (2, 12, 10) and maps.dtype == np.float32 and np.isfinite(maps).all()
    assert not network.training
    assert all(weight.grad is None for weight in network.parameters())
    assert not any(layer._forward_hooks for layer in network.modules())


def test_a_perfect_order_turns_the_answer_at_once(spots: np.ndarray):
    perfect = spots[..., 0].astype(np.float32)
    curves = faithfulness(Spot(), spots, np.array([1, 1]), {"perfect": perfect, "worst": -perfect}, *PLAIN, steps=14)
    assert list(curves.columns) == ["method", "share", "deletion", "insertion"]
    assert list(curves["method"]) == ["perfect"] * 15 + ["worst"] * 15 + ["random"] * 15
    np.testing.assert_allclose(curves["share"][:15], np.arange(15) / 14)
    np.testing.assert_allclose(curves["deletion"][:15], [1] + [0] * 14, atol=1e-9)
    np.testing.assert_allclose(curves["insertion"][:15], [0] + [1] * 14, atol=1e-9)
    perfect, worst, random = (list(score.values()) for score in areas(curves).values())
    np.testing.assert_allclose(perfect, [0.5 / 14, 1 - 0.5 / 14])
    np.testing.assert_allclose(worst, [1 - 0.5 / 14, 0.5 / 14])
    assert perfect[0] < random[0] < worst[0] and perfect[1] > random[1] > worst[1]


def test_a_map_that_tells_nothing_is_about_as_good_as_a_random_order(noise: np.ndarray):
    flat, by_row = np.ones((3, 14, 14), np.float32), np.tile(-np.arange(14 * 14).reshape(14, 14), (3, 1, 1))
    first, second = (
        faithfulness(pooled(), noise, np.array([0, 1, 0]), {"flat": flat, "by row": by_row}, *PLAIN) for _ in range(2)
    )
    assert first.equals(second)
    found, in_order, random = (np.array(list(score.values())) for score in areas(first).values())
    np.testing.assert_allclose(found, random, atol=0.01)
    assert (found != in_order).all()


def test_areas_by_hand():
    curves = pd.DataFrame(
        {"method": ["a b"] * 3, "share": [0, 0.5, 1], "deletion": [1, 0.5, 0], "insertion": [0, 1, 1]}
    )
    assert areas(curves) == {"a b": {"deletion": 0.5, "insertion": 0.75}}


def gallery(images: np.ndarray, methods: list[str]) -> Figure:
    maps = {name: np.random.default_rng(1).normal(size=images.shape[:3]).astype(np.float32) for name in methods}
    maps["occlusion"][0] = 0  # where nothing changes the answer
    probabilities = answers([0.9, 0.8, 0.4], [0, 2, 1])
    scores = {name: {"deletion": 0.25, "insertion": 0.5} for name in (*methods, "random")}
    return figure(
        images,
        np.array([0, 1, 1]),
        probabilities,
        maps,
        scores,
        ("shirt", "a name that is far too long for its place", "$coat_"),
    )


def test_a_row_has_the_picture_its_maps_and_what_was_said(noise: np.ndarray):
    drawn = gallery(noise, list(METHODS))
    assert len(drawn.axes) == 3 * 4
    said = [text.get_text() for text in drawn.texts]
    above = "\n↓ 0.25  ↑ 0.50"
    assert said[1].endswith("in a random order ↓ 0.25  ↑ 0.50")
    assert said[2:5] == [f"integrated\ngradients{above}", f"Grad-CAM{above}", f"occlusion{above}"]
    assert said[5:8] == ["shirt", "→ shirt", "90.0%"]
    assert [text.get_color() for text in drawn.texts if text.get_text().startswith("→")] == [
        drawing.RIGHT,
        drawing.WRONG,
        drawing.RIGHT,
    ]
    assert "no Grad-CAM" not in said[1]


def test_a_method_that_is_left_out_is_named(noise: np.ndarray):
    drawn = gallery(noise, ["integrated gradients", "occlusion"])
    assert len(drawn.axes) == 3 * 3
    assert drawn.texts[1].get_text().endswith("no Grad-CAM: this network has no feature map")


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_figure_has_the_same_bytes_and_lies_inside(tmp_path: Path, noise: np.ndarray, channels: int):
    for name in ("a.png", "b.png"):
        drawn = gallery(noise.repeat(channels, 3), list(METHODS))
        drawing.save(drawn, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    for part in [*drawn.axes, *drawn.texts]:
        box = part.get_window_extent().transformed(drawn.transFigure.inverted())
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1


def test_a_wide_name_ends_before_the_picture(tmp_path: Path, noise: np.ndarray):
    random = {"random": {"deletion": 0.5, "insertion": 0.5}}
    drawing.save(figure(noise[:1], np.array([0]), np.ones((1, 1)), {}, random, ("W" * 40,)), tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("L"))[186:]  # below the titles
    assert (pixels[:, :170] < 250).any()
    assert (pixels[:, 171:179] == 255).all()
