"""What is gained where a classifier says nothing about the pictures that it is not sure of.

Geifman, El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.
"""

import numpy as np
import pandas as pd


def curve(confidence: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """The risk-coverage curve, a row for each percent of the pictures: coverage, the share that is answered, and risk, that of it that is wrong.

    Of the confidence (N,) in 0..1 and right (N,) bool. The surest pictures are answered first.
    """
    ranked = _ranked(confidence, right)
    return ranked.iloc[np.unique(np.ceil(np.arange(1, 101) / 100 * len(ranked)).astype(int) - 1)][["coverage", "risk"]]


def summary(confidence: np.ndarray, right: np.ndarray, least: float | None) -> dict[str, float | None]:
    """Accuracy on the surest 90 % and 95 % of the pictures, and the area under the risk-coverage curve, the mean of the risks.

    Of the confidence (N,) in 0..1 and right (N,) bool.
    """
    risk = _ranked(confidence, right)["risk"].to_numpy()
    at = {percent: 1 - float(risk[int(np.ceil(percent / 100 * len(risk))) - 1]) for percent in (90, 95)}
    answered = confidence >= least if least is not None else np.zeros(len(confidence), bool)
    return {
        "accuracy_at_coverage_90": at[90],
        "accuracy_at_coverage_95": at[95],
        "risk_coverage_area": float(risk.mean()),
        "abstention_threshold": least,
        "abstention_coverage": float(answered.mean()),
        "abstention_accuracy": float(right[answered].mean()) if answered.any() else None,
    }


def threshold(confidence: np.ndarray, right: np.ndarray, target: float) -> float | None:
    """The least confidence down to which at least the share `target` of the answers is right; None where no confidence reaches it.

    Of the confidence (N,) in 0..1 and right (N,) bool, of pictures that are not the test's.
    """
    ranked = _ranked(confidence, right)
    last_of_equals = np.append(np.diff(ranked["confidence"]) != 0, True)
    enough = ranked[(1 - ranked["risk"] >= target) & last_of_equals]
    return float(enough["confidence"].iloc[-1]) if len(enough) else None


def _ranked(confidence: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """A row a picture, the surest first: coverage and risk down to it, and its confidence."""
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    return pd.DataFrame(
        {
            "coverage": answered / len(order),
            "risk": np.cumsum(~right[order]) / answered,
            "confidence": confidence[order],
        }
    )
