"""Temperature scaling, and measures of calibration.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.
"""

import math

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from darkroom.models.inference import probabilities

BINS = 15  # of equal width over the confidence, as in the paper
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.05, 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in 0.05..20 by which logits (N, K) are divided for the lowest cross-entropy of labels (N,) int64.

    Fit it on examples that are neither in the training set nor in the test set.
    """

    def loss(logarithm: float) -> float:
        return _loss(logits * math.exp(-logarithm), labels)

    bounds = (math.log(_MIN_TEMPERATURE), math.log(_MAX_TEMPERATURE))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)


def summary(logits: np.ndarray, labels: np.ndarray, temperature: float) -> dict[str, float]:
    """Calibration of logits (N, K) for labels (N,) int64, with temperature scaling and without it (`_uncalibrated`).

    The expected calibration error is over BINS bins of the confidence. The Brier score is the mean over the examples of
    the squared error summed over all K probabilities, so 0..2 (Brier, "Verification of forecasts expressed in terms of
    probability", 1950). The loss is the mean cross-entropy in nats.
    """
    calibrated, uncalibrated = probabilities(logits / temperature), probabilities(logits)
    return {
        "temperature": temperature,
        "expected_calibration_error": _expected_calibration_error(calibrated, labels),
        "expected_calibration_error_uncalibrated": _expected_calibration_error(uncalibrated, labels),
        "brier_score": _brier_score(calibrated, labels),
        "brier_score_uncalibrated": _brier_score(uncalibrated, labels),
        "loss_calibrated": _loss(logits / temperature, labels),
    }


def diagram(logits: np.ndarray, labels: np.ndarray, temperature: float) -> pd.DataFrame:
    """The reliability diagrams of logits (N, K) without and with temperature scaling, for labels (N,) int64.

    The rows of `reliability`; the column `probabilities` says of which they are: uncalibrated or calibrated.
    """
    scaled = {"uncalibrated": logits, "calibrated": logits / temperature}
    return pd.concat(
        reliability(probabilities(some), labels).assign(probabilities=name) for name, some in scaled.items()
    )


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """One row per non-empty bin of the confidence: mean confidence, accuracy, and number of images.

    `probabilities` (N, K), `labels` (N,) int64. The confidence is the largest probability of an image.
    """
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    table = pd.DataFrame({"confidence": confidence, "accuracy": correct.astype(float), "images": 1})
    return table.groupby(np.minimum((confidence * BINS).astype(int), BINS - 1)).agg(
        {"confidence": "mean", "accuracy": "mean", "images": "sum"}
    )


def _expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    bins = reliability(probabilities, labels)
    gaps = (bins["accuracy"] - bins["confidence"]).abs()
    return float((gaps * bins["images"]).sum() / len(labels))


def _brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(((probabilities**2).sum(1) - 2 * of_label + 1).mean())


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels].mean())
