import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from darkroom.evaluate import calibration, calibration_error


def make_logits(count: int, sharpness: float, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are calibrated after division by `sharpness`, and labels."""
    random = np.random.default_rng(seed)
    calibrated = random.normal(scale=2, size=(count, classes))
    labels = (softmax(calibrated, axis=1).cumsum(1) < random.random((count, 1))).sum(1)
    return (calibrated * sharpness).astype(np.float32), labels


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


@pytest.mark.parametrize("margin", [2.0, 4.0])
def test_few_correct_predictions_do_not_sharpen_to_certainty(margin: float):
    """36 correct predictions with a confidence of 88 or 98 % do not prove a higher one."""
    logits, labels = np.zeros((36, 2), np.float32), np.zeros(36, np.int64)
    logits[:, 0] = margin
    assert calibration.fit_temperature(logits, labels) == 1


def test_a_much_too_low_confidence_is_raised_within_the_evidence():
    """Of 36 correct predictions and the two of each kind that are added, 38 of 40 are correct."""
    logits, labels = np.zeros((36, 2), np.float32), np.zeros(36, np.int64)
    logits[:, 0] = 0.3  # a confidence of 57 %
    temperature = calibration.fit_temperature(logits, labels)
    assert softmax(logits / temperature, axis=1)[0, 0] == pytest.approx(38 / 40, abs=1e-4)


def test_a_temperature_that_does_not_improve_beyond_chance_stays_1():
    kept = [calibration.fit_temperature(*make_logits(300, 1.0, seed=seed)) == 1 for seed in range(40)]
    assert sum(kept) >= 38


@pytest.mark.parametrize("logits", [[[0.0, 0.0]], [[0.0, 9.0]], [[5.0, 0.0]]])
def test_one_example_is_no_evidence(logits: list):
    assert calibration.fit_temperature(np.array(logits, np.float32), np.array([0])) in (
        1.0,
        pytest.approx(20, rel=1e-3),
    )


def test_scores_are_those_of_scikit_learn():
    logits, labels = make_logits(500, 2.0)
    summary = calibration.summary(logits, labels, 2.0)
    for suffix, temperature in (("", 2), ("_uncalibrated", 1)):
        probabilities = softmax(logits.astype(np.float64) / temperature, axis=1)
        expected = brier_score_loss(labels, probabilities, labels=[0, 1, 2, 3], scale_by_half=False)
        assert summary[f"brier_score{suffix}"] == pytest.approx(expected)
    probabilities = softmax(logits.astype(np.float64) / 2, axis=1)
    assert summary["loss_calibrated"] == pytest.approx(log_loss(labels, probabilities, labels=[0, 1, 2, 3]))


def test_diagram_has_both_curves():
    logits, labels = make_logits(50, 3.0)
    table = calibration.diagram(logits, labels, 3.0)
    assert table.columns.tolist() == ["confidence", "accuracy", "images", "probabilities"]
    assert table.groupby("probabilities")["images"].sum().to_dict() == {"uncalibrated": 50, "calibrated": 50}
    calibrated = table[table["probabilities"] == "calibrated"]
    expected = calibration_error.reliability(softmax(logits.astype(np.float64) / 3, axis=1), labels)
    assert calibrated["confidence"].tolist() == pytest.approx(expected["confidence"].tolist())
