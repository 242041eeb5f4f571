from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

from darkroom.bundle import classifier
from darkroom.core.errors import DarkroomError
from darkroom.export import gates
from darkroom.export.config import Int8
from darkroom.export.graph import contents
from darkroom.export.resizing import RESIZED
from tests import bundles

LIMITS = Int8(calibration=8, max_accuracy_drop=0.1, min_agreement=0.8, min_speedup=1.3)


def test_parity_of_equal_and_nearly_equal_answers():
    expected = np.array([[1.0, 2.0], [0.5, 0.25]], dtype=np.float32)
    probabilities = np.array([[0.25, 0.75], [0.75, 0.25]], dtype=np.float32)
    assert gates.compare(expected, expected, probabilities, 1e-3) == {
        "max_abs_difference": 0.0,
        "label_disagreements": 0,
        "samples": 2,
    }
    shifted = expected + np.array([[0.0, 0.125], [0.0, 0.0]], dtype=np.float32)
    assert gates.compare(expected, shifted, probabilities, 0.125)["max_abs_difference"] == 0.125
    with pytest.raises(
        DarkroomError,
        match=r"labels 0 of 2 test pictures otherwise, and its logits differ by up to 0\.125 \(export\.tolerance = 0\.1\)",
    ):
        gates.compare(expected, shifted, probabilities, 0.1)
    with pytest.raises(DarkroomError, match="labels 1 of 2 test pictures otherwise"):
        gates.compare(expected, expected, probabilities[[0, 0]], 1.0)


def test_a_label_that_differs_within_rounding_is_refused_too_and_told_apart():
    expected = np.array([[1.0, 1.0 + 2.0**-18], [2.0, 0.0]], dtype=np.float32)
    probabilities = np.array([[0.75, 0.25], [0.75, 0.25]], dtype=np.float32)
    with pytest.raises(
        DarkroomError, match=r"labels 1 of 2 test pictures otherwise.*logits of these labels lie 3\.8e-06 or less apart"
    ):
        gates.compare(expected, expected, probabilities, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("place", "whose"), [(0, "trained"), (1, "exported"), (2, "exported")])
def test_parity_refuses_what_is_not_finite(place, whose, value):
    answers = [np.zeros((3, 2), dtype=np.float32) for _ in range(3)]
    answers[place][1, 0] = value
    with pytest.raises(DarkroomError, match=f"The {whose} model's answer to 1 of 3 test pictures"):
        gates.compare(*answers, tolerance=1.0)


class Neighbourly:
    """A model whose answers depend on how many pictures it is asked about at once."""

    def __init__(self, drifts):
        self.drifts = drifts

    def run(self, names, feeds):
        logits = np.tile(np.array([[1.0, 2.0]], np.float32), (len(feeds["images"]), 1))
        logits[:, 1] += self.drifts.get(len(logits), 0)
        return [logits, logits]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_answers_that_depend_on_the_batch_are_refused(size):
    images, expected = np.zeros((192, 2, 2, 1), np.uint8), np.tile(np.array([[1.0, 2.0]], np.float32), (192, 1))
    assert gates.require_parity(Neighbourly({}), images, expected, 1e-4)["max_abs_difference"] == 0
    assert (
        gates.require_parity(Neighbourly({size: 0.5}), images, expected, 1.0)["max_abs_difference"] == 0.5
    )  # the worst is told
    with pytest.raises(DarkroomError, match=r"differ by up to 0\.5"):
        gates.require_parity(Neighbourly({size: 0.5}), images, expected, 1e-4)


def test_the_accuracy_must_be_the_one_evaluated():
    right = np.array([True, True, False])
    gates.require_accuracy(right, 2 / 3)
    with pytest.raises(
        DarkroomError, match=r"right on 0\.666667 of the test pictures, but metrics/evaluate\.json says 0\.666: run"
    ):
        gates.require_accuracy(right, 0.666)


def manifest(resize="stretch", **fields):
    return SimpleNamespace(**{"shape": (9, 8, 1), "resize": resize, "denoise": "none", "max_pixels": 1000} | fields)


def model(resize):
    """An ONNX file that takes pictures of any size to 9 x 8 and looks at one pixel."""
    pixel = helper.make_node("Cast", [RESIZED], ["logits"], to=onnx.TensorProto.FLOAT)
    images = helper.make_tensor_value_info(RESIZED, onnx.TensorProto.UINT8, ["batch", 9, 8, 1])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 9, 8, 1])
    graph = helper.make_model(
        helper.make_graph([pixel], "pixel", [images], [logits]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    description = SimpleNamespace(
        name="pixel", dataset="d", title="t", licence="l", data_sha256="0", classes=("a",), shape=(9, 8, 1)
    )
    return contents(graph, description, 1.0, None, resize)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("denoise", ["none", "median"])
def test_preprocessing_is_that_of_the_training(resize, denoise):
    images = np.random.default_rng(0).integers(0, 256, (20, 9, 8, 1), dtype=np.uint8)
    assert (
        gates.require_preprocessing(manifest(resize, denoise=denoise), model(resize), images)["resize_max_difference"]
        <= 1
    )


def test_preprocessing_that_differs_is_refused(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (20, 9, 8, 1), dtype=np.uint8)
    with pytest.raises(DarkroomError, match=r"brings test pictures of other sizes to its own \d+ grey levels off"):
        gates.require_preprocessing(manifest("pad"), model("stretch"), images)
    decode = gates.bundle.picture
    monkeypatch.setattr(gates.bundle, "picture", lambda *arguments: decode(*arguments) ^ 1)
    with pytest.raises(DarkroomError, match="20 of 20 test pictures have other pixels once they were written as PNG"):
        gates.require_preprocessing(manifest(), model("stretch"), images)


def test_the_preprocessing_of_every_picture_is_looked_at_in_blocks_that_fit_into_memory(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (403, 9, 8, 1), dtype=np.uint8)
    decode, opened, runs = gates.bundle.picture, gates.bundle.open_session, []

    def recorded(*arguments, **options):
        session = opened(*arguments, **options)
        return SimpleNamespace(run=lambda names, feeds: runs.append(feeds["images"]) or session.run(names, feeds))

    monkeypatch.setattr(gates.bundle, "open_session", recorded)
    monkeypatch.setattr(gates, "_BLOCK", 5000)
    gates.require_preprocessing(manifest(), model("stretch"), images)
    assert sum(map(len, runs)) == 403 and len({run.shape[1:] for run in runs}) == 6
    assert max(run.size for run in runs) <= 5000 and max(map(len, runs)) <= 64

    monkeypatch.setattr(
        gates.bundle, "picture", lambda *arguments: (read := decode(*arguments)) ^ np.array_equal(read, images[401])
    )
    with pytest.raises(DarkroomError, match="1 of 403 test pictures have other pixels"):
        gates.require_preprocessing(manifest(), model("stretch"), images)


def test_judged_by_what_it_loses_where_it_agrees_and_how_fast_it_is(monkeypatch):
    """The second of two models, of which the first is always right."""
    images = np.linspace(0, 255, 30).round().astype(np.uint8).reshape(30, 1, 1, 1)
    labels = bundles.answers(images, 3)[0].argmax(1)
    coarse = bundles.model(3, 1)
    monkeypatch.setattr(gates, "_speedup", lambda *_: 2.0)
    assert gates.judge(coarse, coarse, images, labels, LIMITS, 1) == (
        {"published": True, "accuracy": 1.0, "agreement": 1.0, "reason": None},
        2.0,
    )

    monkeypatch.setattr(gates, "_speedup", lambda *_: 1.29)
    judged, speedup = gates.judge(coarse, coarse, images, labels, LIMITS, 1)
    assert (judged["published"], judged["reason"], speedup) == (False, "it is not 1.3 times as fast", 1.29)

    other = bundles.model(2, 1)  # never says that a picture is of class 2
    judged, _ = gates.judge(coarse, other, images, labels, LIMITS, 1)
    right = (bundles.answers(images, 2)[0].argmax(1) == labels).mean()
    assert judged["accuracy"] == judged["agreement"] == right
    assert judged["reason"] == (
        f"it loses {1 - right:.4f} of accuracy, more than 0.1; its labels agree on {right:.4f}, less than 0.8; it is not 1.3 times as fast"
    )


def test_the_speed_is_a_ratio():
    session = classifier.open_session(bundles.model(3, 1), threads=1)
    assert 0.1 < gates._speedup(session, session, np.zeros((1, 4, 4, 1), np.uint8)) < 10
