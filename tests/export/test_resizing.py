from functools import cache
from itertools import product

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.bundle import classifier
from darkroom.core.cropping import centre
from darkroom.export.resizing import RESIZED, resizer
from darkroom.inputs import resizing

SHAPES = ((5, 8, 1), (9, 4, 3))
MODES = ("stretch", "crop", "pad")
INTERPOLATIONS = ("bilinear", "bicubic")
FRACTIONS = (1.0, 0.875, 0.5)  # 5 x 8 is the centre of 5 x 9 and 10 x 16, and 9 x 4 of 10 x 4 and 18 x 8
KINDS = tuple(product(SHAPES, MODES, INTERPOLATIONS, FRACTIONS))


@cache
def session(shape, mode, interpolation, fraction):
    return classifier.open_session(resizer(shape, mode, interpolation, fraction, 20).SerializeToString(), 1)


def by_pillow(images, shape, mode, interpolation="bilinear", fraction=1.0):
    size = resizing.uncropped(shape[:2], fraction)
    opened = (Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels) for pixels in images)
    whole = np.stack([resizing.pixels(one, size, shape[2], mode, interpolation) for one in opened])
    return centre(whole, shape[:2])


def by_graph(images, shape, mode, interpolation="bilinear", fraction=1.0):
    return session(shape, mode, interpolation, fraction).run([RESIZED], {"images": images})[0]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 120),
    st.integers(1, 120),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_any_image_is_resized_as_by_pillow_within_one_grey_level(kind, height, width, sharp, seed):
    shape = kind[0]
    images = np.random.default_rng(seed).integers(0, 256, (2, height, width, shape[2]), dtype=np.uint8)
    images = np.where(images < 128, 0, 255).astype(np.uint8) if sharp else images
    found = by_graph(images, *kind)
    assert found.shape == (2, *shape)
    assert found.dtype == np.uint8
    expected = images if (height, width) == shape[:2] else by_pillow(images, *kind)
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_image_of_the_right_size_is_unchanged(kind):
    images = np.random.default_rng(0).integers(0, 256, (3, *kind[0]), dtype=np.uint8)
    assert np.array_equal(by_graph(images, *kind), images)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_centre_of_an_image_of_the_size_before_the_crop_is_unchanged(kind):
    shape, *_, fraction = kind
    size = resizing.uncropped(shape[:2], fraction)
    images = np.random.default_rng(0).integers(0, 256, (3, *size, shape[2]), dtype=np.uint8)
    assert np.array_equal(by_graph(images, *kind), centre(images, shape[:2]))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 90), (90, 2)])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("mode", MODES)
def test_thin_images(mode, interpolation, size):
    images = np.random.default_rng(1).integers(0, 256, (1, *size, 1), dtype=np.uint8)
    for fraction in FRACTIONS:
        kind = SHAPES[0], mode, interpolation, fraction
        assert np.abs(by_graph(images, *kind).astype(int) - by_pillow(images, *kind)).max() <= 1


def test_a_sharp_edge_overshoots_within_the_grey_levels():
    images = np.zeros((1, 3, 8, 1), np.uint8)
    images[:, :, 4:] = 200
    found = by_graph(images, SHAPES[0], "stretch", "bicubic", 0.5)
    assert found.min() == 0 and 200 < found.max() < 255
    images[images > 0] = 255
    levels = by_graph(images, SHAPES[0], "stretch", "bicubic", 0.5)[0, 0, :, 0]
    assert (np.diff(levels.astype(int)) >= 0).all()  # no value wraps around


def test_pad_adds_black_borders():
    padded = by_graph(np.full((1, 10, 2, 1), 255, np.uint8), SHAPES[0], "pad")
    assert padded[0, ..., 0].tolist() == [[0, 0, 0, 0, 255, 0, 0, 0]] * 5


def test_crop_takes_the_centre():
    images = np.zeros((1, 20, 10, 1), np.uint8)
    images[:, 5:15] = 200
    assert (by_graph(images, SHAPES[0], "crop") == 200).all()


@pytest.mark.parametrize("opset", [18, 23])
def test_model_is_valid_in_its_operator_set(opset):
    model = resizer((5, 8, 1), "pad", "bicubic", 0.875, opset)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [opset]
    assert not model.functions
