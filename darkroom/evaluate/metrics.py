"""Classification metrics with confidence intervals, from logits and labels."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import numpy_generator
from darkroom.core.spelling import counted

RESAMPLES = 2000  # of the test set, for a bootstrap interval


def summary(logits: np.ndarray, labels: np.ndarray, top_k: int) -> dict[str, float]:
    """The main metrics of logits (N, K) float32 for labels (N,) int64; N is at least 1.

    `loss` is the mean cross-entropy in nats, `macro_f1` the mean F1 of all K classes, and `worst_class_accuracy` the
    lowest accuracy of a class. `accuracy_top_k` is 1 if there are at most `top_k` classes. `_low` and `_high` bound
    95 % confidence intervals: Wilson's for accuracy, the normal interval for the mean loss, and a percentile bootstrap
    for macro F1. Raises DarkroomError if a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise DarkroomError(
            "models/trained computes logits that are not finite on the test set: lower train.lr and run `dvc repro`."
        )
    ranks = _ranks(logits, labels)
    losses = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    counts = confusion_matrix(labels, logits.argmax(1), labels=np.arange(logits.shape[1]))
    support = counts.sum(1)
    return {
        **_with_interval("accuracy", (ranks == 0).mean(), wilson((ranks == 0).sum(), len(labels))),
        **_with_interval("loss", losses.mean(), _mean_interval(losses)),
        **_with_interval("macro_f1", macro_f1(counts), macro_f1_interval(counts)),
        "worst_class_accuracy": float((counts.diagonal() / np.maximum(support, 1))[support > 0].min()),
        "accuracy_top_k": float((ranks < top_k).mean()),
        "samples": len(labels),
    }


def summary_line(summary: Mapping[str, float]) -> str:
    """The main numbers of a summary in one line, for the terminal."""
    interval = f"{summary['accuracy_low']:.2%} to {summary['accuracy_high']:.2%}"
    return (
        f"{counted(summary['samples'], 'test image')}: accuracy {summary['accuracy']:.2%} (95 % interval {interval}), "
        f"loss {summary['loss']:.4f}, macro F1 {summary['macro_f1']:.4f}"
    )


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of logits (N, K) whose largest is that of the label (N,) int64."""
    return float((logits.argmax(1) == labels).mean())


def wilson(successes: np.ndarray | int, total: np.ndarray | int) -> np.ndarray:
    """Wilson's 95 % confidence interval of the fraction successes / total, each a number or an array: (2, ...) float64.

    It is 0..1 where the total is 0. Wilson, "Probable inference, the law of succession, and statistical inference",
    1927.
    """
    z, n = norm.ppf(0.975), np.maximum(total, 1)
    fraction, width = successes / n, z**2 / n
    middle = (fraction + width / 2) / (1 + width)
    half = z / (1 + width) * np.sqrt(fraction * (1 - fraction) / n + width / (4 * n))
    none, every = np.equal(successes, 0), np.equal(successes, total)  # the exact bounds are 0 and 1, without rounding
    return np.stack([np.where(none, 0, middle - half), np.where(every, 1, middle + half)])


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Macro F1 (...) of confusion matrices (..., K, K). A class that neither occurs nor is predicted has an F1 of 0."""
    both = counts.sum(-1) + counts.sum(-2)
    return (2 * np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(both, 1)).mean(-1)


def macro_f1_interval(counts: np.ndarray) -> np.ndarray:
    """The 95 % interval (2,) of macro F1 by a percentile bootstrap of the examples behind a confusion matrix (K, K)."""
    random, fractions = numpy_generator(0, "bootstrap"), counts.reshape(-1) / counts.sum()
    # One resample at a time: there may be thousands of classes.
    resamples = (random.multinomial(counts.sum(), fractions).reshape(counts.shape) for _ in range(RESAMPLES))
    return np.percentile([macro_f1(resample) for resample in resamples], [2.5, 97.5])


def predictions(probabilities: np.ndarray, labels: np.ndarray, ids: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """One row per example: id, names of label and predicted class, confidence (of the prediction), label_probability.

    `probabilities` (N, K), `labels` (N,) int64, `ids` (N,) unicode.
    """
    names, of_label = np.array(classes), probabilities[np.arange(len(labels)), labels]
    columns = {"id": ids, "label": names[labels], "predicted": names[probabilities.argmax(1)]}
    return pd.DataFrame({**columns, "confidence": probabilities.max(1), "label_probability": of_label})


def per_class(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """One row per class: class, precision, recall, f1, support (number of examples), and bounds of the first two.

    From logits (N, K) float32 and labels (N,) int64. A score with the denominator 0 is 0. `_low` and `_high` bound
    Wilson's 95 % intervals.
    """
    indices = np.arange(len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, logits.argmax(1), labels=indices, zero_division=0
    )
    counts = confusion_matrix(labels, logits.argmax(1), labels=indices)
    columns = {"class": list(classes), "precision": precision, "recall": recall, "f1": f1, "support": support}
    for name, total in (("precision", counts.sum(0)), ("recall", support)):
        columns[f"{name}_low"], columns[f"{name}_high"] = wilson(counts.diagonal(), total)
    return pd.DataFrame(columns)


def _with_interval(name: str, value: float, bounds: np.ndarray) -> dict[str, float]:
    return {name: float(value), f"{name}_low": float(bounds[0]), f"{name}_high": float(bounds[1])}


def _mean_interval(values: np.ndarray) -> np.ndarray:
    """The normal 95 % interval (2,) of the mean of values (N,)."""
    n = len(values)
    return values.mean() + np.array([-1, 1]) * norm.ppf(0.975) * values.std(ddof=n > 1) / np.sqrt(n)


def _ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rank (N,) int64 of the label among the classes, 0 for the first; ties go to the lower index, as in argmax."""
    of_label = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > of_label) | ((logits == of_label) & earlier)).sum(1)
