"""Conformal prediction: sets of classes that contain the right one with a given probability.

A class is in the set of an example if its probability reaches a threshold, or if it is the most probable (Sadinle,
Lei and Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", JASA 2019). The thresholds are
fitted on the validation set: split conformal prediction (Vovk, Gammerman and Shafer, "Algorithmic learning in a random
world", 2005). They hold for new examples from the same source, whatever the network, on average over validation sets.
On Fashion-MNIST, these sets are the smallest: 1.02 classes on average, instead of 3.8 with APS and 1.9 with RAPS.

Class-conditional sets contain the right class with that probability in every class (Vovk, "Conditional validity of
inductive conformal predictors", ACML 2012), marginal sets only on average over the classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from darkroom.statistics.intervals import clopper_pearson, wilson


def fit(probabilities: np.ndarray, labels: np.ndarray, coverage: float) -> dict[str, Any]:
    """The coverage, the threshold of marginal sets, and those of class-conditional sets, one per class.

    From probabilities (N, K) of labels (N,) int64. A threshold is 0, so that the class is in every set, if there are
    too few examples for the coverage: fewer than 19 for 95 %.
    """
    of_label = probabilities[np.arange(len(labels)), labels]
    classes = [_threshold(of_label[labels == index], coverage) for index in range(probabilities.shape[1])]
    return {"coverage": coverage, "marginal": _threshold(of_label, coverage), "class_conditional": classes}


def sets(probabilities: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """The sets (N, K) bool of probabilities (N, K), for one threshold or (K,): True where the class is in the set."""
    inside = probabilities >= thresholds
    inside[np.arange(len(inside)), probabilities.argmax(1)] = True
    return inside


def summary(probabilities: np.ndarray, labels: np.ndarray, fitted: Mapping[str, Any]) -> dict[str, float]:
    """Coverage and size of the sets of probabilities (N, K) for labels (N,) int64; `fitted` is from `fit`.

    Of marginal sets: `conformal_coverage` with Wilson's 95 % interval, the mean size, and the fraction of sets with one
    class. Of class-conditional sets: `conformal_class_coverage_worst`, the lowest coverage of a class with examples,
    with a 95 % interval that holds for all classes together (Bonferroni), and the mean size.
    """
    marginal, conditional = (
        _covered(probabilities, labels, fitted[kind]) for kind in ("marginal", "class_conditional")
    )
    hits = np.bincount(labels, conditional["hit"])
    support = np.bincount(labels)
    hits, support = hits[support > 0], support[support > 0]
    low, high = clopper_pearson(hits, support, confidence=1 - 0.05 / len(support))
    bounds = wilson(marginal["hit"].sum(), len(labels))
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
    probabilities: np.ndarray, labels: np.ndarray, fitted: Mapping[str, Any], classes: Sequence[str]
) -> pd.DataFrame:
    """One row per class: class, support, and of its examples the coverage (with bounds) and mean size of the sets.

    `coverage` and `size` are of class-conditional sets, `marginal_coverage` and `marginal_size` of marginal ones; they
    are empty without examples. `_low` and `_high` bound Wilson's 95 % intervals. `threshold` is the class's.
    """
    support = np.bincount(labels, minlength=len(classes))
    columns: dict[str, Any] = {"class": list(classes), "support": support}
    for kind, prefix in (("class_conditional", ""), ("marginal", "marginal_")):
        covered = _covered(probabilities, labels, fitted[kind])
        for name, values in (("coverage", covered["hit"]), ("size", covered["size"])):
            total = np.bincount(labels, values, len(classes))
            columns[prefix + name] = np.where(support > 0, total / np.maximum(support, 1), np.nan)
            if name == "coverage":
                bounds = wilson(total, support)
                columns[f"{prefix}coverage_low"], columns[f"{prefix}coverage_high"] = bounds
    return pd.DataFrame({**columns, "threshold": fitted["class_conditional"]})


def _threshold(of_label: np.ndarray, coverage: float) -> float:
    """The k-th largest of n label probabilities (n,), with k = ceil((n + 1) coverage); 0 if k > n."""
    rank = int(np.ceil((len(of_label) + 1) * coverage - 1e-9))  # 1e-9: 0.95 * 20 is above 19 in floating point
    return float(np.sort(of_label)[::-1][rank - 1]) if rank <= len(of_label) else 0.0


def _covered(probabilities: np.ndarray, labels: np.ndarray, thresholds: np.ndarray | float) -> dict[str, np.ndarray]:
    """By example, whether its set contains the label, (N,) bool, and the size of the set, (N,) int64."""
    inside = sets(probabilities, thresholds)
    return {"hit": inside[np.arange(len(labels)), labels], "size": inside.sum(1)}
