import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from darkroom.evaluate import calibration


def answers(count: int, sharpness: float, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits that mean what they say once they are divided by `sharpness`, and labels drawn accordingly."""
    random = np.random.default_rng(0)
    honest = random.normal(scale=2, size=(count, classes))
    labels = (softmax(honest, axis=1).cumsum(1) < random.random((count, 1))).sum(1)
    return (honest * sharpness).astype(np.float32), labels


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(sharpness: float):
    logits, labels = answers(20_000, sharpness)
    temperature = calibration.fit_temperature(logits, labels)
    assert temperature == pytest.approx(sharpness, rel=0.05)
    summary = calibration.summary(logits, labels, temperature)
    assert summary["after"]["ece"] < 0.015
    assert summary["after"]["loss"] <= summary["before"]["loss"]
    if sharpness != 1:
        assert summary["before"]["ece"] > 0.05


@pytest.mark.parametrize(("logits", "bound"), [([[0.3, 0.0]], 0.05), ([[0.0, 9.0]], 20.0)])
def test_the_temperature_has_bounds(logits: list, bound: float):
    """Where all are right nothing is too cold, where all are wrong nothing too hot."""
    assert calibration.fit_temperature(np.array(logits, np.float32), np.array([0])) == pytest.approx(bound, rel=1e-3)


def test_the_scores_are_those_of_scikit_learn():
    logits, labels = answers(500, 2.0)
    measured, shares = calibration.summary(logits, labels, 2.0)["after"], softmax(logits.astype(np.float64) / 2, axis=1)
    assert measured["brier"] == pytest.approx(
        brier_score_loss(labels, shares, labels=[0, 1, 2, 3], scale_by_half=False)
    )
    assert measured["loss"] == pytest.approx(log_loss(labels, shares, labels=[0, 1, 2, 3]))


def test_the_calibration_error_by_hand():
    """Of 15 bins one holds two pictures at 0.70, one right, and another one at 0.90, right: (2 x 0.2 + 1 x 0.1) / 3."""
    shares = np.array([[0.7, 0.3], [0.3, 0.7], [0.9, 0.1]])
    logits, labels = np.log(shares).astype(np.float32), np.array([0, 0, 0])
    assert calibration.summary(logits, labels, 1.0)["before"]["ece"] == pytest.approx(0.5 / 3)
    table = calibration.reliability(shares, labels)
    assert table.to_dict("list") == {
        "confidence": pytest.approx([0.7, 0.9]),
        "accuracy": [0.5, 1.0],
        "pictures": [2, 1],
    }
    certain = calibration.reliability(np.array([[1.0, 0.0]]), np.array([1]))  # a confidence of 1 is in the last bin
    assert certain.to_dict("list") == {"confidence": [1.0], "accuracy": [0.0], "pictures": [1]}


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_the_calibration_error_is_that_of_a_direct_computation(count: int, classes: int, seed: int):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(size=(count, classes)).astype(np.float32), random.integers(classes, size=count)
    shares = softmax(logits.astype(np.float64), axis=1)
    error, confidence = 0.0, shares.max(1)
    for lower in np.arange(15) / 15:
        inside = (confidence >= lower) & (confidence < lower + 1 / 15)
        if inside.any():
            error += abs((shares.argmax(1) == labels)[inside].mean() - confidence[inside].mean()) * inside.sum() / count
    assert calibration.summary(logits, labels, 1.0)["before"]["ece"] == pytest.approx(error)


def test_the_diagram_has_both():
    logits, labels = answers(50, 3.0)
    table = calibration.diagram(logits, labels, 3.0)
    assert table.groupby("temperature")["pictures"].sum().to_dict() == {"before": 50, "after": 50}
    assert table.columns.tolist() == ["confidence", "accuracy", "pictures", "temperature"]
