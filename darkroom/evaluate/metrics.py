"""Classification metrics with confidence intervals, from logits and labels."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.evaluate import class_scores, ranking
from darkroom.evaluate.class_scores import Counts
from darkroom.evaluate.probabilities import Table, largest, of_labels
from darkroom.models.logits import by_rows
from darkroom.statistics.intervals import fraction_interval, mean_interval, wilson

MAX_PAIRS = 50  # rows of the table of confused pairs


def summary(logits: np.ndarray, labels: np.ndarray, top_k: int, groups: np.ndarray | None = None) -> dict[str, float]:
    """The main metrics of logits (N, K) float32 for labels (N,) int64; N is at least 1.

    `loss` is the mean cross-entropy in nats. `accuracy_top_k` is 1 if there are at most `top_k` classes. Classes
    without test examples are left out of what weighs classes: macro F1, balanced accuracy, worst-class accuracy, ROC
    AUC and average precision. The latter two are missing if no class can be ranked. `_low` and `_high` bound 95 %
    confidence intervals, for examples that depend on each other within groups (N,) text, if given; that of the loss of
    one example or group has no upper bound, so both are missing. Raises DarkroomError if a logit is not finite.
    """
    ranks, predicted, normaliser, of_label = by_rows(_measured, logits, labels)
    correct, losses = ranks == 0, normaliser - of_label
    recall = Counts.of(labels, predicted, logits.shape[1]).recall()[np.unique(labels)]
    return {
        **_with_interval("accuracy", correct.mean(), fraction_interval(correct, groups)),
        **_with_interval("loss", losses.mean(), mean_interval(losses, groups)),
        **class_scores.summary(labels, predicted, groups),
        "worst_class_accuracy": float(recall.min()),
        **ranking.summary(logits, labels, normaliser),
        "accuracy_top_k": float((ranks < top_k).mean()),
        "samples": len(labels),
    }


def summary_line(summary: Mapping[str, float]) -> str:
    """The main numbers of a summary in one line, for the terminal."""
    interval = f"{summary['accuracy_low']:.2%} to {summary['accuracy_high']:.2%}"
    return (
        f"{counted(summary['samples'], 'test example')}: accuracy {summary['accuracy']:.2%} "
        f"(95 % interval {interval}), loss {summary['loss']:.4f}, macro F1 {summary['macro_f1']:.4f}"
    )


def predictions(
    probabilities: Table,
    labels: np.ndarray,
    ids: np.ndarray,
    classes: Sequence[str],
    more: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """One row per example: id, names of label and predicted class, confidence (of the prediction), label_probability.

    `probabilities` (N, K), `labels` (N,) int64, `ids` (N,) text; `more` columns (N,) follow.
    """
    names, (confidence, predicted) = np.array(classes), largest(probabilities)
    columns = {"id": ids, "label": names[labels], "predicted": names[predicted], "confidence": confidence}
    return pd.DataFrame({**columns, "label_probability": of_labels(probabilities, labels), **(more or {})})


def per_class(
    logits: np.ndarray, labels: np.ndarray, classes: Sequence[str], groups: np.ndarray | None = None
) -> pd.DataFrame:
    """One row per class: class, precision, recall, f1, support (number of examples), and bounds of the first two.

    From logits (N, K) float32 and labels (N,) int64. Recall and F1 of a class without examples are NaN; the precision
    of a class that is never predicted is 0. `_low` and `_high` bound 95 % confidence intervals, for examples that
    depend on each other within groups (N,) text, if given.
    """
    predicted = largest(logits)[1]
    counts = Counts.of(labels, predicted, len(classes))
    tested = counts.labels > 0
    columns = {
        "class": list(classes),
        "precision": counts.both / np.maximum(counts.predicted, 1),
        "recall": np.where(tested, counts.recall(), np.nan),
        "f1": np.where(tested, counts.f1(), np.nan),
        "support": counts.labels,
    }
    for name, of, total in (("precision", predicted, counts.predicted), ("recall", labels, counts.labels)):
        bounds = wilson(counts.both, total)
        if groups is not None:
            order = np.argsort(of, kind="stable")
            rows = np.split(order, np.cumsum(total)[:-1])
            bounds = np.array([fraction_interval((labels == predicted)[own], groups[own]) for own in rows]).T
        columns[f"{name}_low"], columns[f"{name}_high"] = bounds
    return pd.DataFrame(columns)


def confused_pairs(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """The most frequent confusions, MAX_PAIRS at most: label, predicted, count, fraction of the label's examples.

    From labels and predicted (N,) int64; ties are in the order of the classes.
    """
    wrong, support = labels != predicted, np.bincount(labels, minlength=len(classes))
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True)
    first = np.argsort(-counts, kind="stable")[:MAX_PAIRS]
    (label, other), count, names = pairs[:, first], counts[first], np.array(classes)
    columns = {"label": names[label], "predicted": names[other], "count": count, "fraction": count / support[label]}
    return pd.DataFrame(columns)


def _with_interval(name: str, value: float, bounds: np.ndarray) -> dict[str, float]:
    if not np.isfinite(bounds).all():
        return {name: float(value)}
    return {name: float(value), f"{name}_low": float(bounds[0]), f"{name}_high": float(bounds[1])}


def _measured(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """By example: `_ranks`, the predicted class, `ranking.log_normaliser` and the logit of the label, each (N,)."""
    if not np.isfinite(logits).all():
        raise DarkroomError(
            "models/trained computes logits that are not finite on the test set: lower train.lr and run `dvc repro`."
        )
    of_label = logits[np.arange(len(labels)), labels]
    return _ranks(logits, labels), logits.argmax(1), ranking.log_normaliser(logits), of_label


def _ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rank (N,) int64 of the label among the classes, 0 for the first; ties go to the lower index, as in argmax."""
    of_label = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > of_label) | ((logits == of_label) & earlier)).sum(1)
