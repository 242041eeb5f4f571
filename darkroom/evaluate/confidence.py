"""What the confidence is worth: fitted on the validation set, measured on the test set.

Temperature scaling makes it a probability, selective classification decides from which confidence to answer, and
conformal prediction names the classes that remain possible. Logits are (N, K) float32, labels (N,) int64, and groups
(N,) text, "" for an example in none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from darkroom.evaluate import abstention, calibration, conformal, out_of_distribution
from darkroom.evaluate.config import EvaluateConfig
from darkroom.evaluate.probabilities import Probabilities


def fit(
    logits: np.ndarray, labels: np.ndarray, settings: EvaluateConfig, groups: np.ndarray | None = None
) -> dict[str, Any]:
    """The contents of models/calibration.json, from the logits, labels and groups of the validation set."""
    temperature = calibration.fit_temperature(logits, labels)
    calibrated = Probabilities(logits, temperature)
    return {
        "temperature": temperature,
        **abstention.fit(calibrated, labels, settings.target_accuracy, settings.confidence, groups),
        "conformal": conformal.fit(calibrated, labels, settings.conformal_coverage, settings.confidence, groups),
    }


def summary(
    logits: np.ndarray,
    labels: np.ndarray,
    fitted: Mapping[str, Any],
    others: Mapping[str, np.ndarray],
    groups: np.ndarray | None = None,
) -> dict[str, float | None]:
    """The metrics of the test set with what was `fitted`; `others` are the logits of the `stand_ins` by kind."""
    temperature, threshold = fitted["temperature"], fitted["threshold"]
    calibrated = Probabilities(logits, temperature)
    confidence, predicted = calibrated.largest
    correct = predicted == labels
    strange = {kind: Probabilities(some, temperature).largest[0] for kind, some in others.items()}
    return {
        **calibration.summary(logits, labels, temperature, groups),
        **abstention.summary(confidence, correct, threshold, groups),
        **conformal.summary(calibrated, labels, fitted["conformal"], groups),
        **out_of_distribution.summary(confidence, strange, threshold),
    }


def tables(
    logits: np.ndarray,
    labels: np.ndarray,
    fitted: Mapping[str, Any],
    classes: Sequence[str],
    groups: np.ndarray | None = None,
) -> dict[str, pd.DataFrame]:
    """The tables of the test set by file name."""
    calibrated = Probabilities(logits, fitted["temperature"])
    confidence, predicted = calibrated.largest
    return {
        "reliability.csv": calibration.diagram(logits, labels, fitted["temperature"]),
        "risk_coverage.csv": abstention.curve(confidence, predicted == labels),
        "conformal.csv": conformal.per_class(calibrated, labels, fitted["conformal"], classes, groups),
    }


def line(fitted: Mapping[str, Any]) -> str:
    """What was fitted, for the terminal."""
    temperature = fitted["temperature"]
    kept = " (kept: no other is better beyond chance on the validation set)" if temperature == 1 else ""
    return f"temperature {temperature:.4g}{kept}; {abstention.line(fitted)}"
