"""Whether a network's probabilities mean what they say, and the temperature that makes them.

Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017.
"""

import math

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from darkroom.models.inference import probabilities

BINS = 15  # of the confidence, equally wide, as in the paper
_COLDEST, _HOTTEST = 0.05, 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature by which logits (N, K) must be divided for the least mean cross-entropy of labels (N,) int64: 0.05 to 20.

    Of pictures that the network was not trained on, which then are not the test's.
    """

    def loss(logarithm: float) -> float:
        return _loss(logits * math.exp(-logarithm), labels)

    return math.exp(
        minimize_scalar(
            loss, bounds=(math.log(_COLDEST), math.log(_HOTTEST)), method="bounded", options={"xatol": 1e-6}
        ).x
    )


def summary(logits: np.ndarray, labels: np.ndarray, temperature: float) -> dict[str, float]:
    """The temperature, the number of bins, and how well logits (N, K) are calibrated to labels (N,) int64 before and after it, by stable names.

    `ece` is the expected calibration error over BINS bins of the confidence, `brier` the mean of the summed squares of all K
    probabilities' errors (0 to 2; Brier, "Verification of forecasts expressed in terms of probability", 1950), `loss` the
    mean cross-entropy in nats.
    """
    before, after = _measured(logits, labels), _measured(logits / temperature, labels)
    return {
        "temperature": temperature,
        "expected_calibration_error": after["ece"],
        "expected_calibration_error_uncalibrated": before["ece"],
        "brier_score": after["brier"],
        "brier_score_uncalibrated": before["brier"],
        "loss_calibrated": after["loss"],
    }


def diagram(logits: np.ndarray, labels: np.ndarray, temperature: float) -> pd.DataFrame:
    """The tables of `reliability` of logits (N, K) before and after the temperature, under each other; the column `temperature` says which."""
    return pd.concat(
        reliability(probabilities(some), labels).assign(temperature=name)
        for name, some in (("before", logits), ("after", logits / temperature))
    )


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """A row for each of the bins that is not empty: confidence and accuracy, the means of its pictures, and their number.

    Of probabilities (N, K) and labels (N,) int64. The confidence is the largest probability of a picture.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    table = pd.DataFrame({"confidence": confidence, "accuracy": right.astype(float), "pictures": 1})
    return table.groupby(np.minimum((confidence * BINS).astype(int), BINS - 1)).agg(
        {"confidence": "mean", "accuracy": "mean", "pictures": "sum"}
    )


def _measured(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    shares = probabilities(logits)
    bins = reliability(shares, labels)
    gaps = (bins["accuracy"] - bins["confidence"]).abs()
    own = shares[np.arange(len(labels)), labels]
    return {
        "ece": float((gaps * bins["pictures"]).sum() / len(labels)),
        "brier": float(((shares**2).sum(1) - 2 * own + 1).mean()),
        "loss": _loss(logits, labels),
    }


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels].mean())
