"""Temperature scaling, and proper scores of the probabilities.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.
"""

import math

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import gammaincinv

from darkroom.evaluate import calibration_error
from darkroom.evaluate.probabilities import Probabilities, Table
from darkroom.models.logits import by_rows

_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.05, 20.0
_PRECISION = {"xatol": 1e-6}
# Of twice the logarithm of the likelihood ratio: the 95 % quantile of chi-squared with one degree of freedom
_SIGNIFICANT = 2 * gammaincinv(0.5, 0.95)
_ADDED = 2  # correct predictions, and as many incorrect ones


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in 0.05..20 by which logits (N, K) are divided for the highest likelihood of labels (N,) int64.

    It is 1 unless it improves on 1 beyond chance: by likelihood-ratio tests at the 5 % level, on the examples and with
    two correct and two incorrect predictions added, which the fit counts too. Agresti and Coull do so for a proportion
    ("Approximate is better than exact for interval estimation of binomial proportions", The American Statistician,
    1998). So a few examples that are all correct do not sharpen the probabilities to certainty. In an
    added incorrect prediction, the second most probable class is the label. Fit it on examples outside the training and
    test sets. The temperature does not change the most probable class of any example.
    """
    classes = np.column_stack([labels, by_rows(_two_largest, logits)])

    def losses(temperature: float) -> np.ndarray:
        """The sums (2,) of the cross-entropies in nats: of the examples, and with those that are added."""
        terms = by_rows(lambda block, of: _losses(block.astype(np.float64) / temperature, of), logits, classes)
        own, first, second = np.ascontiguousarray(terms.T)
        return own.sum() + np.array([0, _ADDED * (first.mean() + second.mean())])

    bounds = (math.log(_MIN_TEMPERATURE), math.log(_MAX_TEMPERATURE))
    found = minimize_scalar(lambda log: losses(math.exp(log))[1], bounds=bounds, method="bounded", options=_PRECISION)
    temperature = math.exp(found.x)
    return temperature if 2 * (losses(1) - losses(temperature)).min() > _SIGNIFICANT else 1.0


def summary(
    logits: np.ndarray, labels: np.ndarray, temperature: float, groups: np.ndarray | None = None
) -> dict[str, float]:
    """Calibration of logits (N, K) for labels (N,) int64, with temperature scaling and without it (`_uncalibrated`).

    For the expected calibration error and groups (N,) text, see `calibration_error`. The Brier score is the mean over
    the examples of the squared error summed over all K probabilities, so 0..2 (Brier, "Verification of forecasts
    expressed in terms of probability", 1950). The loss is the mean cross-entropy in nats.
    """
    calibrated, uncalibrated = Probabilities(logits, temperature), Probabilities(logits)
    losses = by_rows(lambda block, of: _losses((block / temperature).astype(np.float64), of), logits, labels[:, None])
    return {
        "temperature": temperature,
        **calibration_error.summary(calibrated, labels, groups),
        "expected_calibration_error_uncalibrated": calibration_error.of_confidence(uncalibrated, labels),
        "brier_score": _brier_score(calibrated, labels),
        "brier_score_uncalibrated": _brier_score(uncalibrated, labels),
        "loss_calibrated": float(losses[:, 0].mean()),
    }


def diagram(logits: np.ndarray, labels: np.ndarray, temperature: float) -> pd.DataFrame:
    """The reliability diagrams of logits (N, K) without and with temperature scaling, for labels (N,) int64.

    The rows of `calibration_error.reliability`; the column `probabilities` is uncalibrated or calibrated.
    """
    scaled = {"uncalibrated": 1.0, "calibrated": temperature}
    return pd.concat(
        calibration_error.reliability(Probabilities(logits, one), labels).assign(probabilities=name)
        for name, one in scaled.items()
    )


def _two_largest(logits: np.ndarray) -> np.ndarray:
    """The classes (N, 2) int64 with the largest and the second largest of logits (N, K); of equal ones the first."""
    first, others = logits.argmax(1), logits.copy()
    others[np.arange(len(logits)), first] = -np.inf
    return np.column_stack([first, others.argmax(1)])


def _losses(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The cross-entropies (n, c) in nats of logits (n, K) float64 for classes (n, c) int64."""
    shifted = logits - logits.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1, keepdims=True)) - np.take_along_axis(shifted, classes, 1)


def _brier_score(probabilities: Table, labels: np.ndarray) -> float:
    squares, of_label = by_rows(_squares, probabilities, labels)
    return float((squares - 2 * of_label + 1).mean())


def _squares(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (probabilities**2).sum(1), probabilities[np.arange(len(labels)), labels]
