"""How well a network does on corrupted inputs: as a classifier, by risk, or as a recommender."""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from darkroom.core import arrays
from darkroom.core.arrays import Split
from darkroom.recommend import histories, ranking

ARRAYS = "data/arrays"
Predict = Callable[[np.ndarray], np.ndarray]  # packed inputs (n, ...) to logits (n, classes)
Score = Callable[[Predict, np.ndarray], dict[str, float]]  # of corrupted inputs (N, ...)


def of_classes(split: Split) -> Score:
    """The score of corrupted examples of a split: the accuracy."""
    labels = np.asarray(split.labels)
    return lambda predict, inputs: {"accuracy": float((predict(inputs).argmax(1) == labels).mean())}


def of_risks(split: Split) -> Score:
    """The scores of corrupted examples of two classes: the accuracy, and the area under the ROC curve.

    If all examples are of one class, which a subset of few positives may be, the accuracy alone.
    """
    is_positive = np.asarray(split.labels) == 1
    count, others = is_positive.sum(), (~is_positive).sum()
    if count == 0 or others == 0:
        return of_classes(split)

    def score(predict: Predict, inputs: np.ndarray) -> dict[str, float]:
        logits = predict(inputs)
        ranks = rankdata(logits[:, 1].astype(np.float64) - logits[:, 0])[is_positive]
        area = (ranks.mean() - (count + 1) / 2) / others
        return {"accuracy": float((logits.argmax(1) == is_positive).mean()), "roc_auc": float(area)}

    return score


def of_items(split: Split, seen_items: str) -> Score:
    """The scores of corrupted histories of a part of the test split: HR@1 as accuracy, and HR@10.

    The items that are left out are those of the histories as they were, by `evaluate.seen_items`.
    """
    place = {name: number for number, name in enumerate(arrays.read_split(ARRAYS, "test").ids.tolist())}
    left_out = histories.left_out(ARRAYS, "test", seen_items)[[place[name] for name in split.ids.tolist()]]
    return partial(_ranked, labels=np.asarray(split.labels), left_out=left_out)


def _ranked(predict: Predict, inputs: np.ndarray, labels: np.ndarray, left_out: sparse.csr_array) -> dict[str, float]:
    found = ranking.in_blocks(predict, inputs, labels, left_out)
    return {"accuracy": float(found.hits(1).mean()), f"hr_at_{ranking.SHOWN}": float(found.hits(ranking.SHOWN).mean())}
