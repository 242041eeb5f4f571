from collections import Counter
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

from darkroom.bundle import classifier
from darkroom.core.errors import DarkroomError
from darkroom.export import dynamic, gates
from darkroom.export.config import Int8Config
from darkroom.export.graph import contents
from darkroom.export.resizing import RESIZED
from tests import bundles
from tests.export.small import preprocessing

SHAPE = (9, 8, 1)
LIMITS = Int8Config(calibration_samples=8, max_accuracy_drop=0.1, min_agreement=0.8, min_speedup=0.0)


def random_images(n):
    return np.random.default_rng(0).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def test_parity_of_equal_and_nearly_equal_outputs():
    expected = np.array([[1.0, 2.0], [0.5, 0.25]], dtype=np.float32)
    probabilities = np.array([[0.25, 0.75], [0.75, 0.25]], dtype=np.float32)
    assert gates.compare(expected, expected, probabilities, 1e-3) == {
        "max_abs_difference": 0.0,
        "label_disagreements": 0,
        "samples": 2,
    }
    shifted = expected + np.array([[0.0, 0.125], [0.0, 0.0]], dtype=np.float32)
    assert gates.compare(expected, shifted, probabilities, 0.125)["max_abs_difference"] == 0.125
    with pytest.raises(DarkroomError, match=r"0 of 2 test examples .* 0\.125 \(export\.tolerance = 0\.1\)"):
        gates.compare(expected, shifted, probabilities, 0.1)
    with pytest.raises(DarkroomError, match="1 of 2 test examples"):
        gates.compare(expected, expected, probabilities[[0, 0]], 1.0)


def test_a_label_that_differs_within_rounding_is_rejected_with_its_margin():
    expected = np.array([[1.0, 1.0 + 2.0**-18], [2.0, 0.0]], dtype=np.float32)
    probabilities = np.array([[0.75, 0.25], [0.75, 0.25]], dtype=np.float32)
    with pytest.raises(DarkroomError, match=r"1 of 2 test examples .* 3\.8e-06"):
        gates.compare(expected, expected, probabilities, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("index", "model"), [(0, "trained"), (1, "exported"), (2, "exported")])
def test_parity_rejects_numbers_that_are_not_finite(index, model, value):
    outputs = [np.zeros((3, 2), dtype=np.float32) for _ in range(3)]
    outputs[index][1, 0] = value
    with pytest.raises(DarkroomError, match=f"{model} model.* 1 of 3 test examples"):
        gates.compare(*outputs, tolerance=1.0)


class BatchDependent:
    """A model whose outputs depend on the batch size."""

    def __init__(self, offsets):
        self.offsets = offsets

    def run(self, names, feeds):
        logits = np.tile(np.array([[1.0, 2.0]], np.float32), (len(feeds["images"]), 1))
        logits[:, 1] += self.offsets.get(len(logits), 0)
        return [logits, logits]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_outputs_that_depend_on_the_batch_are_rejected(size):
    images, expected = np.zeros((192, 2, 2, 1), np.uint8), np.tile(np.array([[1.0, 2.0]], np.float32), (192, 1))
    assert gates.require_parity(BatchDependent({}), images, expected, 1e-4)["max_abs_difference"] == 0
    worst = gates.require_parity(BatchDependent({size: 0.5}), images, expected, 1.0)
    assert worst["max_abs_difference"] == 0.5
    with pytest.raises(DarkroomError, match=r"up to 0\.5"):
        gates.require_parity(BatchDependent({size: 0.5}), images, expected, 1e-4)


def test_labels_may_differ_only_within_a_tie():
    expected = np.array([[1.0, 1.0 + 5e-5, 0.0]], np.float32)
    logits = np.array([[1.0 + 6e-5, 1.0, 0.0]], np.float32)
    found = gates.compare(expected, logits, logits, tolerance=1e-4, tie=1e-4)
    assert found["label_disagreements"] == 1
    with pytest.raises(DarkroomError, match="1 of 1 test example got another label"):
        gates.compare(expected, logits, logits, tolerance=1e-4)
    with pytest.raises(DarkroomError, match="another label"):
        gates.compare(expected, logits, logits, tolerance=1e-4, tie=1e-5)
    with pytest.raises(DarkroomError):
        gates.compare(expected, logits, logits, tolerance=1e-6, tie=1e-4)


def test_the_accuracy_must_equal_that_of_evaluate():
    correct = np.array([True, True, False])
    gates.require_accuracy(correct, 2 / 3)
    with pytest.raises(DarkroomError, match=r"0\.666667 .* metrics/evaluate\.json says 0\.666:"):
        gates.require_accuracy(correct, 0.666)


def manifest(**fields):
    return SimpleNamespace(shape=SHAPE, intensity_range=None, **preprocessing(**fields).model_dump())


def model(**fields):
    """An ONNX file that preprocesses images of any size and returns their pixels."""
    pixels = helper.make_node("Cast", [RESIZED], ["logits"], to=onnx.TensorProto.FLOAT)
    images = helper.make_tensor_value_info(RESIZED, onnx.TensorProto.UINT8, ["batch", *SHAPE])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", *SHAPE])
    graph = helper.make_model(
        helper.make_graph([pixels], "pixels", [images], [logits]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    description = SimpleNamespace(
        name="pixels", dataset="d", title="t", licence="l", data_sha256="0", classes=("a",), shape=SHAPE
    )
    return contents(graph, description, 1.0, None, preprocessing(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"resize": "crop"},
        {"resize": "pad"},
        {"resize": "crop", "denoise": "median"},
        {"interpolation": "bicubic"},
        {"crop_fraction": 0.8},
        {"resize": "pad", "interpolation": "bicubic", "crop_fraction": 0.7, "denoise": "median"},
    ],
)
def test_preprocessing_equals_that_before_training(fields):
    found = gates.require_preprocessing(manifest(**fields), model(**fields), random_images(20))
    assert found["resize_max_difference"] <= 1


@pytest.mark.parametrize("fields", [{"resize": "pad"}, {"interpolation": "bicubic"}, {"crop_fraction": 0.7}])
def test_other_resizing_is_rejected(fields):
    with pytest.raises(DarkroomError, match=r"resizing .* \d+ grey levels"):
        gates.require_preprocessing(manifest(**fields), model(), random_images(20))


def test_a_median_filter_that_is_off_by_one_grey_level_is_rejected(monkeypatch):
    denoise = gates.denoise
    monkeypatch.setattr(gates, "denoise", lambda images, method: np.maximum(denoise(images, method), 1) - 1)
    with pytest.raises(DarkroomError, match=r"denoising .* 1 grey levels .*median"):
        gates.require_preprocessing(manifest(denoise="median"), model(denoise="median"), random_images(20))


def test_a_file_without_its_median_filter_is_rejected(monkeypatch):
    monkeypatch.setattr(gates, "DENOISED", RESIZED)
    with pytest.raises(DarkroomError, match=r"denoising .*median"):
        gates.require_preprocessing(manifest(denoise="median"), model(), random_images(20))


def test_decoding_that_changes_pixels_is_rejected(monkeypatch):
    images = random_images(403)
    decode = classifier.decode_image
    monkeypatch.setattr(
        classifier,
        "decode_image",
        lambda *arguments: (pixels := decode(*arguments)) ^ np.array_equal(pixels, images[401]),
    )
    with pytest.raises(DarkroomError, match="1 of 403 test images"):
        gates.require_preprocessing(manifest(), model(), images)


def test_preprocessing_is_checked_on_every_image_in_blocks_that_fit_into_memory(monkeypatch):
    open_session, runs = classifier.open_session, []

    def recorded(*arguments, **options):
        session = open_session(*arguments, **options)
        return SimpleNamespace(run=lambda names, feeds: runs.append(feeds["images"]) or session.run(names, feeds))

    monkeypatch.setattr(classifier, "open_session", recorded)
    monkeypatch.setattr(gates, "_BLOCK", 5000)
    gates.require_preprocessing(manifest(), model(), random_images(403))
    of_own_size = [run for run in runs if run.shape[1:] == SHAPE]
    others = [run for run in runs if run.shape[1:] != SHAPE]
    assert sum(map(len, of_own_size)) == sum(map(len, others)) == 403
    assert len({run.shape[1:] for run in others}) == 6
    assert max(run.size for run in runs) <= 5000
    assert max(map(len, runs)) <= 64


LABELS = np.arange(30) % 3


@pytest.mark.parametrize("speedup", [0.01, 1.0, 5.0])
def test_by_default_no_timing_decides_whether_int8_is_published(speedup):
    assert gates.judge_int8(LABELS, LABELS, LABELS, speedup, LIMITS) == {
        "int8_published": True,
        "int8_accuracy": 1.0,
        "int8_agreement": 1.0,
        "int8_samples": 30,
        "int8_reason": None,
    }


def test_int8_is_not_published_if_it_loses_accuracy_or_agreement():
    int8 = np.minimum(LABELS, 1)  # never predicts class 2
    judged = gates.judge_int8(int8, LABELS, LABELS, 2.0, LIMITS)
    assert not judged["int8_published"]
    assert judged["int8_accuracy"] == judged["int8_agreement"] == 20 / 30
    assert [reason.split()[0] for reason in judged["int8_reason"].split("; ")] == ["accuracy", "agreement"]

    judged = gates.judge_int8(LABELS, int8, LABELS, 2.0, LIMITS)  # more accurate, but different
    assert judged["int8_reason"].startswith("agreement")


def test_a_minimum_speedup_can_be_required():
    limits = LIMITS.model_copy(update={"min_speedup": 1.3})
    assert gates.judge_int8(LABELS, LABELS, LABELS, 1.3, limits)["int8_published"]
    judged = gates.judge_int8(LABELS, LABELS, LABELS, 1.29, limits)
    assert not judged["int8_published"]
    assert judged["int8_reason"].startswith("speedup is 1.29")


class Counting:
    """A model whose class is the first pixel; it counts the images that it gets, by batch size."""

    def __init__(self):
        self.counts = Counter()

    def run(self, names, feeds):
        images = feeds["images"]
        self.counts[len(images)] += len(images)
        logits = np.eye(4, dtype=np.float32)[images[:, 0, 0, 0]]
        return [logits, logits]


def test_checks_of_many_or_large_images_see_some_in_small_batches_and_all_in_large_ones(monkeypatch):
    images = np.zeros((100, 2, 3, 1), np.uint8)
    expected = np.tile(np.eye(4, dtype=np.float32)[0], (100, 1))
    for limit, pixels, few in ((100, 600, 100), (99, 600, 99), (100, 599, 99), (100, 60, 10), (100, 5, 1)):
        monkeypatch.setattr(gates, "_MAX_IMAGES", limit)
        monkeypatch.setattr(gates, "_MAX_PIXELS", pixels)
        session = Counting()
        assert gates.require_parity(session, images, expected, 1e-4)["samples"] == 100
        assert session.counts[64] + session.counts[36] == 100
        assert session.counts[1] + session.counts[3] == 2 * few
    indices = gates.spread(images[:, :1, :1])
    assert indices.tolist() == [0, 25, 50, 74, 99]


def test_int8_that_must_fail_is_measured_on_some_large_images_only(monkeypatch):
    images = (np.arange(100, dtype=np.uint8) % 4)[:, None, None, None].repeat(2, 1)
    monkeypatch.setattr(gates, "_MAX_PIXELS", 40)
    fp32 = np.arange(100) % 4
    few = gates.spread(images)
    assert len(few) == 20
    allowed = fp32.copy()
    allowed[few] = (fp32[few] + 1) % 4  # 20 of 100 differ: an agreement of 0.8 is still possible
    for differing in (fp32, allowed):
        session = Counting()
        some, int8 = gates.classify_int8(session, images, differing, LIMITS)
        assert some.tolist() == [*range(100)] and np.array_equal(int8, fp32) and session.counts.total() == 100 + 20
    session = Counting()
    some, int8 = gates.classify_int8(session, images, allowed, LIMITS.model_copy(update={"min_agreement": 0.81}))
    assert np.array_equal(some, few) and np.array_equal(int8, fp32[few]) and session.counts.total() == 20


def test_the_speedup_is_the_median_ratio_of_thread_times(monkeypatch):
    ticks = iter(np.cumsum([0, 6, 1, 2] * 15).tolist())  # in each round, fp32 takes 6 and int8 takes 2
    monkeypatch.setattr(dynamic.time, "thread_time", lambda: next(ticks))
    model = bundles.model(3, 1)
    assert gates.measure_speedup({"fp32": model, "int8": model}, np.zeros((1, 4, 4, 1), np.uint8)) == 3.0
