"""Select the images to explain."""

import numpy as np
import pandas as pd


def select(probabilities: np.ndarray, labels: np.ndarray, per_kind: int) -> np.ndarray:
    """Indices (n,) int64 of `per_kind` images of each kind: confidently correct, confidently incorrect, uncertain.

    From `probabilities` (N, K) and `labels` (N,) int64. Correct ones alternate between the classes, the most confident
    of each first. Uncertain ones have the lowest confidence. No index is repeated, so there may be fewer.
    """
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    ranked = np.argsort(-confidence, kind="stable")
    correct, incorrect = (ranked[(predicted == labels)[ranked] == wanted] for wanted in (True, False))
    turns = pd.Series(correct).groupby(predicted[correct]).cumcount()
    confident = np.concatenate([correct[np.argsort(turns, kind="stable")][:per_kind], incorrect[:per_kind]])
    return np.concatenate([confident, ranked[~np.isin(ranked, confident)][::-1][:per_kind]])
