"""Selective classification: the classifier abstains where its confidence is low.

Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.

Coverage is the fraction of examples that get an answer, the most confident first. Risk is the fraction of incorrect
answers among them. `confidence` is (N,) in 0..1 and `correct` (N,) bool throughout.
"""

import numpy as np
import pandas as pd


def curve(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """The risk-coverage curve at every percent of coverage: one row each, with coverage and risk."""
    ranked = _ranked(confidence, correct)
    return ranked.iloc[np.unique(np.ceil(np.arange(1, 101) / 100 * len(ranked)).astype(int) - 1)][["coverage", "risk"]]


def threshold(confidence: np.ndarray, correct: np.ndarray, target: float) -> float | None:
    """The lowest confidence at which at least the fraction `target` of the answers is correct; None if there is none.

    An answer is given if its confidence is at least the threshold. Fit it on examples outside the test set.
    """
    ranked = _ranked(confidence, correct)
    last_of_equals = np.append(np.diff(ranked["confidence"]) != 0, True)
    sufficient = ranked[(1 - ranked["risk"] >= target) & last_of_equals]
    return float(sufficient["confidence"].iloc[-1]) if len(sufficient) else None


def summary(confidence: np.ndarray, correct: np.ndarray, threshold: float | None) -> dict[str, float | None]:
    """Accuracy at 90 % and 95 % coverage, area under the risk-coverage curve, coverage and accuracy at the threshold.

    Without a threshold, or if it is never reached, coverage is 0 and accuracy None.
    """
    risk = _ranked(confidence, correct)["risk"].to_numpy()
    at = {percent: 1 - float(risk[int(np.ceil(percent / 100 * len(risk))) - 1]) for percent in (90, 95)}
    answered = confidence >= threshold if threshold is not None else np.zeros(len(confidence), bool)
    return {
        "accuracy_at_coverage_90": at[90],
        "accuracy_at_coverage_95": at[95],
        "risk_coverage_area": float(risk.mean()),
        "abstention_threshold": threshold,
        "abstention_coverage": float(answered.mean()),
        "abstention_accuracy": float(correct[answered].mean()) if answered.any() else None,
    }


def _ranked(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """One row per example, most confident first: its confidence, and coverage and risk up to it."""
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    return pd.DataFrame(
        {
            "coverage": answered / len(order),
            "risk": np.cumsum(~correct[order]) / answered,
            "confidence": confidence[order],
        }
    )
