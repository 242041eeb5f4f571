"""Numbers about predictions: logits and labels in, numbers and tables out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_recall_fscore_support

from darkroom.errors import DarkroomError


def summary(logits: np.ndarray, labels: np.ndarray, top_k: int) -> dict[str, float]:
    """What matters of logits (N, K) float32 against labels (N,) int64, by stable names; N is at least 1.

    `accuracy_low` and `accuracy_high` bound the Wilson 95 % interval (Wilson, "Probable inference, the law of succession,
    and statistical inference", 1927), `loss` is the mean cross-entropy in nats, `macro_f1` the mean of the F1 of all K
    classes; `accuracy_top_k` is 1 where there are no more classes than `top_k`. Raises DarkroomError where a logit is not
    finite.
    """
    classes = logits.shape[1]
    if not np.isfinite(logits).all():
        raise DarkroomError("The model in models/trained answers with numbers that are not finite: lower train.lr and run `dvc repro`.")
    ranks = _ranks(logits, labels)
    right = int((ranks == 0).sum())
    interval = binomtest(right, len(labels)).proportion_ci(confidence_level=0.95, method="wilson")
    own = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    return {
        "accuracy": right / len(labels),
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
        "loss": float(-own.mean()),
        "macro_f1": float(f1_score(labels, logits.argmax(1), labels=np.arange(classes), average="macro", zero_division=0)),
        "accuracy_top_k": float((ranks < top_k).mean()),
        "samples": len(labels),
    }


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of logits (N, K) whose largest is at the label (N,) int64."""
    return float((logits.argmax(1) == labels).mean())


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) float64 of logits (N, K) float32."""
    return softmax(logits.astype(np.float64), axis=1)


def predictions(logits: np.ndarray, labels: np.ndarray, ids: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """One row a sample: id, the names of its label and of the class predicted, and the probability of that class.

    Of logits (N, K) float32, labels (N,) int64 and ids (N,) unicode.
    """
    names = np.array(classes)
    confidence = np.exp(log_softmax(logits.astype(np.float64), axis=1).max(1))
    return pd.DataFrame({"id": ids, "label": names[labels], "predicted": names[logits.argmax(1)], "confidence": confidence})


def per_class(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """One row a class: class, precision, recall, f1 (each 0 where it has no denominator) and support, the samples of it.

    Of logits (N, K) float32 and labels (N,) int64.
    """
    columns = precision_recall_fscore_support(labels, logits.argmax(1), labels=np.arange(len(classes)), zero_division=0)
    return pd.DataFrame({"class": list(classes), **dict(zip(("precision", "recall", "f1", "support"), columns, strict=True))})


def _ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the right one, (N,) int64; of equals the first comes first, as in argmax."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > own) | ((logits == own) & earlier)).sum(1)
