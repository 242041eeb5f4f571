"""Conformal prediction: sets of classes that contain the right one with a given probability.

A class is in the set of an example if its probability reaches a threshold, or if it is the most probable (Sadinle,
Lei and Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", JASA 2019). The thresholds are
fitted on the validation set: split conformal prediction (Vovk, Gammerman and Shafer, "Algorithmic learning in a random
world", 2005). They hold for new examples from the same source, whatever the network.
On Fashion-MNIST, these sets are the smallest: 1.02 classes on average, instead of 3.8 with APS and 1.9 with RAPS.

Marginal sets reach the coverage on average over the classes and over validation sets. Groups count as in Dunn,
Wasserman and Ramdas, "Distribution-free prediction sets for two-layer hierarchical models", JASA 2023: each group has
the weight of one example. Class-conditional sets reach it in each class, and not only on average over validation sets
but with a given confidence (Vovk, "Conditional validity of inductive conformal predictors", ACML 2012): a class has few
validation examples, so the coverage of a set that is right on average varies by points.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import betainc

from darkroom.evaluate.probabilities import Table, largest, of_labels
from darkroom.models.logits import by_rows
from darkroom.statistics.groups import independent_fraction, unit_sums
from darkroom.statistics.intervals import clopper_pearson, fraction_interval


def fit(
    probabilities: Table, labels: np.ndarray, coverage: float, certainty: float, groups: np.ndarray | None = None
) -> dict[str, Any]:
    """The coverage, the threshold of marginal sets, and those of class-conditional sets, one per class.

    From probabilities (N, K) of labels (N,) int64 and groups (N,) text ("": in none). Class-conditional sets reach the
    coverage with the confidence `certainty`. A threshold is 0, so that the class is in every set, if there are too few
    examples: for a coverage and a confidence of 95 %, fewer than 19 in all, or 59 of a class.
    """
    of_label, correct = of_labels(probabilities, labels), largest(probabilities)[1] == labels
    classes = []
    for index in range(probabilities.shape[1]):
        own = labels == index
        fraction = independent_fraction(correct[own], groups[own] if groups is not None else None)
        classes.append(_certain_threshold(of_label[own], coverage, certainty, fraction))
    return {"coverage": coverage, "marginal": _threshold(of_label, coverage, groups), "class_conditional": classes}


def sets(probabilities: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """The sets (N, K) bool of probabilities (N, K), for one threshold or (K,): True where the class is in the set."""
    inside = probabilities >= thresholds
    inside[np.arange(len(inside)), probabilities.argmax(1)] = True
    return inside


def summary(
    probabilities: Table, labels: np.ndarray, fitted: Mapping[str, Any], groups: np.ndarray | None = None
) -> dict[str, float]:
    """Coverage and size of the sets of probabilities (N, K) for labels (N,) int64; `fitted` is from `fit`.

    Of marginal sets: `conformal_coverage` with its 95 % interval, the mean size, and the fraction of sets with one
    class. Of class-conditional sets: `conformal_class_coverage_worst`, the lowest coverage of a class with examples,
    with a 95 % interval that holds for all classes together (Bonferroni), and the mean size. The intervals take groups
    (N,) text into account.
    """
    marginal, conditional = (
        _covered(probabilities, labels, fitted[kind]) for kind in ("marginal", "class_conditional")
    )
    found = [conditional["hit"][labels == index] for index in np.unique(labels)]
    hits, support = (np.array([measure(one) for one in found]) for measure in (np.sum, len))
    fraction = independent_fraction(conditional["hit"], groups)
    low, high = clopper_pearson(hits * fraction, support * fraction, confidence=1 - 0.05 / len(support))
    bounds = fraction_interval(marginal["hit"], groups)
    return {
        "conformal_coverage": float(marginal["hit"].mean()),
        "conformal_coverage_low": float(bounds[0]),
        "conformal_coverage_high": float(bounds[1]),
        "conformal_size": float(marginal["size"].mean()),
        "conformal_singletons": float((marginal["size"] == 1).mean()),
        "conformal_class_coverage_worst": float((hits / support).min()),
        "conformal_class_coverage_worst_low": float(low.min()),
        "conformal_class_coverage_worst_high": float(high.min()),
        "conformal_class_size": float(conditional["size"].mean()),
    }


def per_class(
    probabilities: Table,
    labels: np.ndarray,
    fitted: Mapping[str, Any],
    classes: Sequence[str],
    groups: np.ndarray | None = None,
) -> pd.DataFrame:
    """One row per class: class, support, and of its examples the coverage (with bounds) and mean size of the sets.

    `coverage` and `size` are of class-conditional sets, `marginal_coverage` and `marginal_size` of marginal ones; they
    are empty without examples. `_low` and `_high` bound 95 % intervals, which take groups (N,) text into account.
    `threshold` is the class's.
    """
    support = np.bincount(labels, minlength=len(classes))
    columns: dict[str, Any] = {"class": list(classes), "support": support}
    for kind, prefix in (("class_conditional", ""), ("marginal", "marginal_")):
        covered = _covered(probabilities, labels, fitted[kind])
        for name, values in (("coverage", covered["hit"]), ("size", covered["size"])):
            total = np.bincount(labels, values, len(classes))
            columns[prefix + name] = np.where(support > 0, total / np.maximum(support, 1), np.nan)
            if name == "coverage":
                columns[f"{prefix}coverage_low"], columns[f"{prefix}coverage_high"] = _bounds(
                    covered["hit"], labels, len(classes), groups
                )
    return pd.DataFrame({**columns, "threshold": fitted["class_conditional"]})


def _threshold(of_label: np.ndarray, coverage: float, groups: np.ndarray | None) -> float:
    """The largest value that enough of the label probabilities (n,) reach, with one more that never does; 0 if none.

    Without groups it is the k-th largest, with k = ceil((n + 1) coverage). With groups (n,), each unit has a weight of
    1 in all, as has the one more.
    """
    if groups is None:
        weights = np.ones(len(of_label))
    else:
        _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        weights = np.where(groups == "", 1.0, 1 / sizes[index])
    order = np.argsort(-of_label, kind="stable")
    reached = weights[order].cumsum() >= coverage * (len(unit_sums(weights, groups)) + 1) - 1e-9  # 1e-9: rounding
    return float(of_label[order[reached.argmax()]]) if reached.any() else 0.0


def _certain_threshold(of_label: np.ndarray, coverage: float, certainty: float, fraction: float) -> float:
    """The largest value that enough of the label probabilities (n,) reach to show the coverage; 0 if none.

    The coverage of the k-th largest of n has the distribution Beta(k, n + 1 - k). Each counts as the `fraction` of an
    independent one.
    """
    n = len(of_label)
    ranks = np.arange(1, n + 1)
    shown = betainc(ranks * fraction, (n + 1 - ranks) * fraction, coverage) <= 1 - certainty
    return float(np.sort(of_label)[::-1][shown.argmax()]) if shown.any() else 0.0


def _bounds(hits: np.ndarray, labels: np.ndarray, classes: int, groups: np.ndarray | None) -> np.ndarray:
    """The bounds (2, K) of the 95 % intervals of the fraction of `hits` (N,) bool by class."""
    own = [labels == index for index in range(classes)]
    return np.transpose([fraction_interval(hits[one], groups[one] if groups is not None else None) for one in own])


def _covered(probabilities: Table, labels: np.ndarray, thresholds: np.ndarray | float) -> dict[str, np.ndarray]:
    """By example, whether its set contains the label, (N,) bool, and the size of the set, (N,) int64."""

    def of(block: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = sets(block, thresholds)
        return inside[np.arange(len(own)), own], inside.sum(1)

    return dict(zip(("hit", "size"), by_rows(of, probabilities, labels), strict=True))
