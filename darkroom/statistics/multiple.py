"""Corrections for several tests."""

import numpy as np


def holm(p: np.ndarray) -> np.ndarray:
    """The p-values (n,) adjusted for n tests: Holm, "A simple sequentially rejective multiple test procedure", 1979."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted
