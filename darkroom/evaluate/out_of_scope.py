"""How well examples of none of the classes are told from test examples, if the data set has such examples.

Three scores, each higher for an example that the network knows: the confidence (Hendrycks and Gimpel, "A baseline for
detecting misclassified and out-of-distribution examples in neural networks", ICLR 2017), the largest logit (Hendrycks
et al., "Scaling out-of-distribution detection for real-world settings", ICML 2022), and the negative energy, the
logarithm of the sum of the exponentials of the logits (Liu et al., "Energy-based out-of-distribution detection",
NeurIPS 2020). Only the confidence decides about the answers of the service.
"""

import math

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from darkroom.models.inference import probabilities
from darkroom.models.logits import by_rows
from darkroom.statistics.intervals import Z, wilson

FALSE_ALARMS = 0.05  # fraction of the test examples that may be taken for out-of-scope ones
MAIN = "confidence"  # the score of the summary


def measure(
    logits: np.ndarray, others: np.ndarray, temperature: float
) -> tuple[dict[str, pd.DataFrame], dict[str, float]]:
    """The tables by file name, and the numbers for metrics/evaluate.json; both are empty without out-of-scope examples.

    The logits (N, K) are those of the test examples, and (M, K) those of out-of-scope ones.
    """
    if not len(others):
        return {}, {}
    found = table(logits, others, temperature)
    return {"out_of_scope.csv": found}, summary(found, len(others))


def table(logits: np.ndarray, others: np.ndarray, temperature: float) -> pd.DataFrame:
    """One row per score, from the logits (N, K) of the test examples and those (M, K) of out-of-scope ones.

    auroc    the probability that a test example has a higher score than an out-of-scope one; ties count half
    recall   fraction of the out-of-scope examples whose score is below `limit`
    limit    the highest score with at most FALSE_ALARMS of the test examples below
    `_low` and `_high` bound 95 % confidence intervals: DeLong's (1988) of the AUROC, Wilson's of the recall.
    """
    rows = []
    for name, (known, unknown) in _scores(logits, others, temperature).items():
        auroc, low, high = _auroc(known, unknown)
        limit = np.sort(known)[math.floor(FALSE_ALARMS * len(known))]
        found = int((unknown < limit).sum())
        recall_low, recall_high = wilson(found, len(unknown)).tolist()
        rows.append(
            {
                "score": name,
                "auroc": auroc,
                "auroc_low": low,
                "auroc_high": high,
                "recall": found / len(unknown),
                "recall_low": recall_low,
                "recall_high": recall_high,
                "limit": float(limit),
            }
        )
    return pd.DataFrame(rows)


def summary(found: pd.DataFrame, samples: int) -> dict[str, float]:
    """The numbers of the `table` for metrics/evaluate.json; `samples` are the out-of-scope examples."""
    main = found.set_index("score").loc[MAIN].drop("limit").to_dict()
    return {f"out_of_scope_{name}": value for name, value in main.items()} | {"out_of_scope_samples": samples}


def _scores(logits: np.ndarray, others: np.ndarray, temperature: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:

    def of(block: np.ndarray) -> tuple[np.ndarray, ...]:
        block = block.astype(np.float64)
        return probabilities(block / temperature).max(1), block.max(1), logsumexp(block, axis=1)

    names = ("confidence", "max_logit", "energy")
    return dict(zip(names, zip(by_rows(of, logits), by_rows(of, others), strict=True), strict=True))


def _auroc(known: np.ndarray, unknown: np.ndarray) -> tuple[float, float, float]:
    """The area under the ROC curve of scores (N,) and (M,), and its 95 % interval."""
    placements = []  # of each example: the fraction of the other kind that it is on the right side of
    for one, other in ((known, unknown), (-unknown, -known)):
        ordered = np.sort(other)
        right = np.searchsorted(ordered, one, "left") + np.searchsorted(ordered, one, "right")
        placements.append(right / (2 * len(other)))
    area = float(placements[0].mean())
    half = Z * math.sqrt(sum(part.var(ddof=1) / len(part) if len(part) > 1 else 0.25 for part in placements))
    return area, max(0.0, area - half), min(1.0, area + half)
