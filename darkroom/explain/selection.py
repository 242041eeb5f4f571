"""Select the images to explain."""

import numpy as np
import pandas as pd

KINDS = ("confident and correct", "confident and incorrect", "uncertain")


def select(probabilities: np.ndarray, labels: np.ndarray, per_kind: int) -> dict[str, np.ndarray]:
    """Indices (n,) int64 of `per_kind` images of each of KINDS, by kind.

    From `probabilities` (N, K) and `labels` (N,) int64. Correct ones alternate between the classes, the most confident
    of each first. Uncertain ones have the lowest confidence. No index is repeated, so there may be fewer.
    """
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    ranked = np.argsort(-confidence, kind="stable")
    correct, incorrect = (ranked[(predicted == labels)[ranked] == wanted] for wanted in (True, False))
    turns = pd.Series(correct).groupby(predicted[correct]).cumcount()
    correct, incorrect = correct[np.argsort(turns, kind="stable")][:per_kind], incorrect[:per_kind]
    uncertain = ranked[~np.isin(ranked, [*correct, *incorrect])][::-1][:per_kind]
    return dict(zip(KINDS, (correct, incorrect, uncertain), strict=True))
