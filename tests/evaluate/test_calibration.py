import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from darkroom.evaluate import calibration


def make_logits(count: int, sharpness: float, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are calibrated after division by `sharpness`, and labels."""
    random = np.random.default_rng(0)
    calibrated = random.normal(scale=2, size=(count, classes))
    labels = (softmax(calibrated, axis=1).cumsum(1) < random.random((count, 1))).sum(1)
    return (calibrated * sharpness).astype(np.float32), labels


def uncalibrated_error(logits: np.ndarray, labels: np.ndarray) -> float:
    return calibration.summary(logits, labels, 1.0)["expected_calibration_error_uncalibrated"]


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_temperature_is_recovered(sharpness: float):
    logits, labels = make_logits(20_000, sharpness)
    temperature = calibration.fit_temperature(logits, labels)
    assert temperature == pytest.approx(sharpness, rel=0.05)
    summary = calibration.summary(logits, labels, temperature)
    assert summary["temperature"] == temperature
    assert summary["expected_calibration_error"] < 0.015
    assert summary["loss_calibrated"] <= calibration.summary(logits, labels, 1.0)["loss_calibrated"]
    if sharpness != 1:
        assert summary["expected_calibration_error_uncalibrated"] > 0.05
        assert summary["brier_score"] < summary["brier_score_uncalibrated"]


@pytest.mark.parametrize(("logits", "bound"), [([[0.3, 0.0]], 0.05), ([[0.0, 9.0]], 20.0)])
def test_temperature_has_bounds(logits: list, bound: float):
    """If all predictions are correct, the lowest temperature is best; if all are wrong, the highest."""
    assert calibration.fit_temperature(np.array(logits, np.float32), np.array([0])) == pytest.approx(bound, rel=1e-3)


def test_scores_are_those_of_scikit_learn():
    logits, labels = make_logits(500, 2.0)
    summary = calibration.summary(logits, labels, 2.0)
    for suffix, temperature in (("", 2), ("_uncalibrated", 1)):
        probabilities = softmax(logits.astype(np.float64) / temperature, axis=1)
        expected = brier_score_loss(labels, probabilities, labels=[0, 1, 2, 3], scale_by_half=False)
        assert summary[f"brier_score{suffix}"] == pytest.approx(expected)
    probabilities = softmax(logits.astype(np.float64) / 2, axis=1)
    assert summary["loss_calibrated"] == pytest.approx(log_loss(labels, probabilities, labels=[0, 1, 2, 3]))


def test_calibration_error_by_hand():
    """One bin has two images of confidence 0.7, one of them correct; another has one of 0.9: (2 · 0.2 + 0.1) / 3."""
    probabilities = np.array([[0.7, 0.3], [0.3, 0.7], [0.9, 0.1]])
    logits, labels = np.log(probabilities).astype(np.float32), np.array([0, 0, 0])
    assert uncalibrated_error(logits, labels) == pytest.approx(0.5 / 3)
    assert calibration.reliability(probabilities, labels).to_dict("list") == {
        "confidence": pytest.approx([0.7, 0.9]),
        "accuracy": [0.5, 1.0],
        "images": [2, 1],
    }


def test_confidence_of_1_is_in_the_last_bin():
    certain = calibration.reliability(np.array([[1.0, 0.0]]), np.array([1]))
    assert certain.index.tolist() == [calibration.BINS - 1]
    assert certain.to_dict("list") == {"confidence": [1.0], "accuracy": [0.0], "images": [1]}


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_calibration_error_is_that_of_a_direct_computation(count: int, classes: int, seed: int):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(size=(count, classes)).astype(np.float32), random.integers(classes, size=count)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    error, confidence, correct = 0.0, probabilities.max(1), probabilities.argmax(1) == labels
    for lower in np.arange(15) / 15:
        inside = (confidence >= lower) & (confidence < lower + 1 / 15)
        if inside.any():
            error += abs(correct[inside].mean() - confidence[inside].mean()) * inside.sum() / count
    assert uncalibrated_error(logits, labels) == pytest.approx(error)


def test_diagram_has_both_curves():
    logits, labels = make_logits(50, 3.0)
    table = calibration.diagram(logits, labels, 3.0)
    assert table.columns.tolist() == ["confidence", "accuracy", "images", "probabilities"]
    assert table.groupby("probabilities")["images"].sum().to_dict() == {"uncalibrated": 50, "calibrated": 50}
    calibrated = table[table["probabilities"] == "calibrated"]
    expected = calibration.reliability(softmax(logits.astype(np.float64) / 3, axis=1), labels)
    assert calibrated["confidence"].tolist() == pytest.approx(expected["confidence"].tolist())
