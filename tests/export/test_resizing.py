import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.bundle import classifier
from darkroom.export.resizing import RESIZED, resizer
from darkroom.inputs import image

SHAPES = ((5, 8, 1), (9, 4, 3))
MODES = ("stretch", "crop", "pad")
SESSIONS = {
    (shape, mode): classifier.open_session(resizer(shape, mode, 20).SerializeToString(), 1)
    for shape in SHAPES
    for mode in MODES
}


def by_pillow(images, shape, mode):
    opened = (Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels) for pixels in images)
    return np.stack([image.pixels(one, shape[:2], shape[2], mode) for one in opened])


def by_graph(images, shape, mode):
    return SESSIONS[shape, mode].run([RESIZED], {"images": images})[0]


@settings(max_examples=100)
@given(
    st.sampled_from(SHAPES),
    st.sampled_from(MODES),
    st.integers(1, 120),
    st.integers(1, 120),
    st.sampled_from([1, 128]),
    st.integers(0, 2**32),
)
def test_any_image_is_resized_as_by_pillow_within_one_grey_level(shape, mode, height, width, contrast, seed):
    images = (
        np.random.default_rng(seed).integers(0, 256, (2, height, width, shape[2]), dtype=np.uint8)
        // contrast
        * contrast
    )
    found = by_graph(images, shape, mode)
    assert found.shape == (2, *shape)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - by_pillow(images, shape, mode)).max() <= 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_of_the_right_size_is_unchanged(shape, mode):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    assert np.array_equal(by_graph(images, shape, mode), images)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 90), (90, 2)])
@pytest.mark.parametrize("mode", MODES)
def test_thin_images(mode, size):
    images = np.random.default_rng(1).integers(0, 256, (1, *size, 1), dtype=np.uint8)
    assert np.abs(by_graph(images, SHAPES[0], mode).astype(int) - by_pillow(images, SHAPES[0], mode)).max() <= 1


def test_pad_adds_black_borders():
    padded = by_graph(np.full((1, 10, 2, 1), 255, np.uint8), SHAPES[0], "pad")
    assert padded[0, ..., 0].tolist() == [[0, 0, 0, 0, 255, 0, 0, 0]] * 5


def test_crop_takes_the_centre():
    images = np.zeros((1, 20, 10, 1), np.uint8)
    images[:, 5:15] = 200
    assert (by_graph(images, SHAPES[0], "crop") == 200).all()


@pytest.mark.parametrize("opset", [18, 23])
def test_model_is_valid_in_its_operator_set(opset):
    model = resizer((5, 8, 1), "pad", opset)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [opset]
    assert not model.functions
