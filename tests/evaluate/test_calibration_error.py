import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from darkroom.evaluate import calibration_error

KEY = "expected_calibration_error"


def drawn(count: int, sharpness: float, seed: int = 0, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are calibrated if `sharpness` is 1, and labels."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2, size=(count, classes))
    labels = (softmax(logits, axis=1).cumsum(1) < random.random((count, 1))).sum(1)
    return softmax(logits * sharpness, axis=1), labels


def test_by_hand():
    """One bin has two images of confidence 0.7, one of them correct; another has one of 0.9: (2 · 0.2 + 0.1) / 3."""
    probabilities, labels = np.array([[0.7, 0.3], [0.3, 0.7], [0.9, 0.1]]), np.array([0, 0, 0])
    assert calibration_error.of_confidence(probabilities, labels) == pytest.approx(0.5 / 3)
    assert calibration_error.summary(probabilities, labels)[KEY] == pytest.approx(0.5 / 3)
    assert calibration_error.reliability(probabilities, labels).to_dict("list") == {
        "confidence": pytest.approx([0.7, 0.9]),
        "accuracy": [0.5, 1.0],
        "images": [2, 1],
    }


def test_classwise_by_hand():
    """Class 0: probabilities 0.7, 0.3, 0.9, each in its bin, always right. Class 1: 0.3, 0.7, 0.1, never right."""
    probabilities, labels = np.array([[0.7, 0.3], [0.3, 0.7], [0.9, 0.1]]), np.array([0, 0, 0])
    assert calibration_error.classwise(probabilities, labels) == pytest.approx((0.3 + 0.7 + 0.1) / 3)


def test_bins_of_equal_mass_hold_equally_many():
    """30 confidences in 15 bins of two: in each, one of two is correct."""
    confidence = np.linspace(0.55, 0.99, 30)
    labels = np.arange(30) % 2
    found = calibration_error.summary(np.column_stack([confidence, 1 - confidence]), labels)
    assert found[f"{KEY}_equal_mass"] == pytest.approx((confidence - 0.5).mean())


def test_equal_confidences_share_a_bin_of_equal_mass():
    probabilities, labels = np.tile([0.7, 0.3], (10, 1)), np.array([0] * 7 + [1] * 3)
    assert calibration_error.summary(probabilities, labels)[f"{KEY}_equal_mass"] == pytest.approx(0)


def test_confidence_of_1_is_in_the_last_bin():
    certain = calibration_error.reliability(np.array([[1.0, 0.0]]), np.array([1]))
    assert certain.index.tolist() == [calibration_error.BINS - 1]
    assert certain.to_dict("list") == {"confidence": [1.0], "accuracy": [0.0], "images": [1]}


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_it_is_that_of_a_direct_computation(count: int, classes: int, seed: int):
    random = np.random.default_rng(seed)
    probabilities = softmax(random.normal(size=(count, classes)), axis=1)
    labels = random.integers(classes, size=count)
    error, confidence, correct = 0.0, probabilities.max(1), probabilities.argmax(1) == labels
    for lower in np.arange(15) / 15:
        inside = (confidence >= lower) & (confidence < lower + 1 / 15)
        if inside.any():
            error += abs(correct[inside].mean() - confidence[inside].mean()) * inside.sum() / count
    found = calibration_error.summary(probabilities, labels)
    assert found[KEY] == pytest.approx(error)
    assert 0 <= found[f"{KEY}_low"] <= found[KEY] <= found[f"{KEY}_high"]
    assert min(found.values()) >= 0


def test_a_calibrated_classifier_shows_the_null_and_its_interval_reaches_0():
    found = [calibration_error.summary(*drawn(1000, 1.0, seed)) for seed in range(40)]
    errors, nulls = ([one[name] for one in found] for name in (KEY, f"{KEY}_null"))
    assert np.mean(errors) == pytest.approx(np.mean(nulls), rel=0.1)
    assert sum(one[f"{KEY}_low"] == 0 for one in found) >= 37  # 97.5 %


@pytest.mark.parametrize("sharpness", [0.5, 2.0])
def test_the_interval_covers_the_true_error(sharpness: float):
    true = calibration_error.of_confidence(*drawn(200_000, sharpness, 1))
    found = [calibration_error.summary(*drawn(500, sharpness, seed)) for seed in range(60)]
    assert sum(one[f"{KEY}_low"] <= true <= one[f"{KEY}_high"] for one in found) >= 54


def test_it_is_reproducible():
    assert calibration_error.summary(*drawn(100, 2.0)) == calibration_error.summary(*drawn(100, 2.0))


def test_groups_widen_the_interval():
    """Ten copies of each of 100 examples have the bounds of about 100 examples, not of 1,000."""
    probabilities, labels = drawn(100, 2.0)
    copies, groups = (np.repeat(probabilities, 10, axis=0), np.repeat(labels, 10)), np.repeat(np.arange(100), 10)
    found = {name: calibration_error.summary(*some) for name, some in (
        ("few", (probabilities, labels)), ("copies", copies), ("groups", (*copies, groups.astype(str))))}  # fmt: skip
    width = {name: one[f"{KEY}_high"] - one[f"{KEY}_low"] for name, one in found.items()}
    assert width["copies"] < 0.6 * width["groups"]
    assert width["groups"] == pytest.approx(width["few"], rel=0.25)
    none = calibration_error.summary(*copies, np.full(1000, ""))
    assert none == found["copies"]


def test_the_interval_covers_the_true_error_of_groups():
    """Groups of 20 copies, 30 of them; the true error is that of independent examples."""
    true = calibration_error.of_confidence(*drawn(200_000, 2.0, 1))
    groups, covered = np.repeat(np.arange(30), 20).astype(str), 0
    for seed in range(60):
        probabilities, labels = drawn(30, 2.0, seed)
        one = calibration_error.summary(np.repeat(probabilities, 20, axis=0), np.repeat(labels, 20), groups)
        covered += one[f"{KEY}_low"] <= true <= one[f"{KEY}_high"]
    assert covered >= 54
