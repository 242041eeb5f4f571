import io

import numpy as np
import pytest

from darkroom.bundle import classifier
from darkroom.export.bundling import golden
from darkroom.inputs.denoising import denoise
from tests.export.small import SHAPE, exported, trained


@pytest.fixture(scope="module")
def model():
    return exported(*trained())


def test_golden_images_are_reproducible_and_differ(model):
    held = golden({"fp32": model, "int8": model}, SHAPE, "none")
    assert golden({"fp32": model, "int8": model}, SHAPE, "none") == held
    with np.load(io.BytesIO(held), allow_pickle=False) as file:
        arrays = dict(file)
    assert set(arrays) == {"images", "logits", "probabilities", "int8_logits", "int8_probabilities"}
    images = arrays["images"]
    assert (images.shape, images.dtype) == ((8, *SHAPE), np.uint8)
    assert len(np.unique(images.reshape(8, -1), axis=0)) == 8
    expected = classifier.answers(classifier.open_session(model, 1), images)
    for name, output in zip(("logits", "probabilities"), expected, strict=True):
        np.testing.assert_array_equal(arrays[name], output)
        np.testing.assert_array_equal(arrays[f"int8_{name}"], output)


def test_golden_outputs_are_of_denoised_images(model):
    plain, denoised = (
        dict(np.load(io.BytesIO(golden({"fp32": model}, SHAPE, method)))) for method in ("none", "median")
    )
    np.testing.assert_array_equal(denoised["images"], plain["images"])
    expected = classifier.answers(classifier.open_session(model, 1), denoise(plain["images"], "median"))[0]
    np.testing.assert_array_equal(denoised["logits"], expected)
    assert np.abs(denoised["logits"] - plain["logits"]).max() > 0.1
