"""Numbers about predictions: logits and labels in, numbers and tables out."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import numpy_generator

RESAMPLES = 2000  # of the test set, for a bootstrap interval


def summary(logits: np.ndarray, labels: np.ndarray, top_k: int) -> dict[str, float]:
    """What matters of logits (N, K) float32 against labels (N,) int64, by stable names; N is at least 1.

    `loss` is the mean cross-entropy in nats, `macro_f1` the mean of the F1 of all K classes, `worst_class_accuracy` that of
    the class with the least; `accuracy_top_k` is 1 where there are no more classes than `top_k`. `_low` and `_high` bound
    95 % intervals: of shares Wilson's, of the loss the normal one of a mean, of macro F1 the percentiles of a bootstrap.
    Raises DarkroomError where a logit is not finite.
    """
    classes = logits.shape[1]
    if not np.isfinite(logits).all():
        raise DarkroomError(
            "The model in models/trained answers with numbers that are not finite: lower train.lr and run `dvc repro`."
        )
    ranks = _ranks(logits, labels)
    own = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    counts = confusion_matrix(labels, logits.argmax(1), labels=np.arange(classes))
    support = counts.sum(1)
    return {
        **_with_interval("accuracy", (ranks == 0).mean(), wilson((ranks == 0).sum(), len(labels))),
        **_with_interval(
            "loss",
            own.mean(),
            own.mean() + np.array([-1, 1]) * norm.ppf(0.975) * own.std(ddof=len(own) > 1) / np.sqrt(len(own)),
        ),
        **_with_interval("macro_f1", macro_f1(counts), macro_f1_interval(counts)),
        "worst_class_accuracy": float((counts.diagonal() / np.maximum(support, 1))[support > 0].min()),
        "accuracy_top_k": float((ranks < top_k).mean()),
        "samples": len(labels),
    }


def sentence(summary: Mapping[str, float]) -> str:
    """One line about a summary, for the terminal."""
    interval = f"{summary['accuracy_low']:.2%} to {summary['accuracy_high']:.2%}"
    return (
        f"{summary['samples']} test images: accuracy {summary['accuracy']:.2%} ({interval}), "
        f"loss {summary['loss']:.4f}, macro F1 {summary['macro_f1']:.4f}"
    )


def wilson(right: np.ndarray | int, total: np.ndarray | int) -> np.ndarray:
    """The 95 % interval of a share, right of total, each a number or an array: (2, ...) float64, from 0 to 1 where the total is 0.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    z, n = norm.ppf(0.975), np.maximum(total, 1)
    share, width = right / n, z**2 / n
    middle, half = (
        (share + width / 2) / (1 + width),
        z / (1 + width) * np.sqrt(share * (1 - share) / n + width / (4 * n)),
    )
    none, all_ = np.equal(right, 0), np.equal(right, total)  # where the bounds are 0 and 1, but for the rounding
    return np.stack([np.where(none, 0, middle - half), np.where(all_, 1, middle + half)])


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """The mean over the classes of 2 right / (labelled + predicted), 0 where there is neither, of confusion matrices (..., K, K): (...)."""
    both = counts.sum(-1) + counts.sum(-2)
    return (2 * np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(both, 1)).mean(-1)


def macro_f1_interval(counts: np.ndarray) -> np.ndarray:
    """The 95 % interval (2,) of macro F1 by a percentile bootstrap of the pictures, which resamples their confusion matrix (K, K)."""
    random, shares = numpy_generator(0, "bootstrap"), counts.reshape(-1) / counts.sum()
    drawn = (
        random.multinomial(counts.sum(), shares).reshape(counts.shape) for _ in range(RESAMPLES)
    )  # one at a time: K may be thousands
    return np.percentile([macro_f1(one) for one in drawn], [2.5, 97.5])


def _with_interval(name: str, value: float, bounds: np.ndarray) -> dict[str, float]:
    return {name: float(value), f"{name}_low": float(bounds[0]), f"{name}_high": float(bounds[1])}


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of logits (N, K) whose largest is at the label (N,) int64."""
    return float((logits.argmax(1) == labels).mean())


def predictions(probabilities: np.ndarray, labels: np.ndarray, ids: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """One row a sample: id, the names of its label and of the class predicted, and the probabilities of both, `confidence` the latter's.

    Of probabilities (N, K), labels (N,) int64 and ids (N,) unicode.
    """
    names, own = np.array(classes), probabilities[np.arange(len(labels)), labels]
    columns = {"id": ids, "label": names[labels], "predicted": names[probabilities.argmax(1)]}
    return pd.DataFrame({**columns, "confidence": probabilities.max(1), "label_probability": own})


def per_class(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """One row a class: class, precision, recall, f1 (each 0 where it has no denominator), the bounds of the first two, and support.

    Of logits (N, K) float32 and labels (N,) int64. Support is the number of samples of the class; `_low` and `_high` bound
    Wilson's 95 % intervals.
    """
    numbers = np.arange(len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, logits.argmax(1), labels=numbers, zero_division=0
    )
    counts = confusion_matrix(labels, logits.argmax(1), labels=numbers)
    columns = {"class": list(classes), "precision": precision, "recall": recall, "f1": f1, "support": support}
    for name, total in (("precision", counts.sum(0)), ("recall", support)):
        columns[f"{name}_low"], columns[f"{name}_high"] = wilson(counts.diagonal(), total)
    return pd.DataFrame(columns)


def _ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the right one, (N,) int64; of equals the first comes first, as in argmax."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > own) | ((logits == own) & earlier)).sum(1)
