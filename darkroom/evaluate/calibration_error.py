"""The expected calibration error: how far the confidence is from the accuracy, and how much of that is chance.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017. `probabilities` are (N, K) and
`labels` (N,) int64 throughout. The confidence is the largest probability of an example.
"""

import numpy as np
import pandas as pd

from darkroom.core.randomness import numpy_generator
from darkroom.evaluate.probabilities import Table, largest
from darkroom.models.logits import by_rows
from darkroom.statistics.groups import independent_fraction

BINS = 15  # as in the paper
RESAMPLES = 2000


def summary(probabilities: Table, labels: np.ndarray, groups: np.ndarray | None = None) -> dict[str, float]:
    """The expected calibration error, its 95 % interval, its value by chance, and two other versions.

    `expected_calibration_error` is that of the paper, over bins of equal width. `_null` is what a calibrated classifier
    with these confidences would show on average: correct predictions are drawn with the confidence as probability.
    `_equal_mass` has bins of equally many examples (Nixon et al., "Measuring calibration in deep learning", CVPR
    workshops 2019). `_classwise` is the mean over the classes of the error of that class's probability (Kull et al.,
    "Beyond temperature scaling", NeurIPS 2019).

    The estimate is biased upwards, as deviations by chance count too. `_low` and `_high` come from a bootstrap that
    draws the correct predictions of each bin anew. The lower bound corrects this bias; it is 0 if a calibrated
    classifier would show the same error in more than 2.5 % of the draws. The upper bound does not correct it, since
    the bootstrap overestimates it where the classifier is nearly calibrated. Examples of groups (N,) text ("": in none)
    count as fewer independent ones in all draws.
    """
    confidence, predicted = largest(probabilities)
    correct = predicted == labels
    return {
        **of_predictions(confidence, correct, groups),
        "expected_calibration_error_equal_mass": _error(confidence, correct, _equal_mass(confidence)),
        "expected_calibration_error_classwise": classwise(probabilities, labels),
    }


def of_predictions(confidence: np.ndarray, correct: np.ndarray, groups: np.ndarray | None = None) -> dict[str, float]:
    """The first four numbers of `summary`, from the confidence (N,) of predictions and which are correct (N,) bool."""
    bins = binned(confidence, correct)
    measured = (bins[name].to_numpy() for name in ("images", "confidence", "accuracy"))
    error, (low, high), null = _interval(*measured, independent_fraction(correct, groups))
    return {
        "expected_calibration_error": error,
        "expected_calibration_error_low": low,
        "expected_calibration_error_high": high,
        "expected_calibration_error_null": null,
    }


def of_confidence(probabilities: Table, labels: np.ndarray) -> float:
    """The expected calibration error over bins of equal width."""
    confidence, predicted = largest(probabilities)
    return _error(confidence, predicted == labels, _equal_width(confidence))


def classwise(probabilities: Table, labels: np.ndarray) -> float:
    """The mean over the K classes of the calibration error of the class's probability, over bins of equal width."""
    classes = probabilities.shape[1]
    predicted, first = np.zeros(classes * BINS), np.arange(classes) * BINS

    def add(block: np.ndarray, own: np.ndarray) -> np.ndarray:
        """The cell (n,) of a class and a bin in which each label's probability is."""
        cells = _equal_width(block) + first
        np.add.at(predicted, cells.reshape(-1), block.reshape(-1))  # one after the other, whatever the blocks
        return cells[np.arange(len(own)), own]

    observed = np.bincount(by_rows(add, probabilities, labels), minlength=len(predicted))
    return float(np.mean(np.abs(predicted - observed).reshape(classes, BINS).sum(1) / len(labels)))


def reliability(probabilities: Table, labels: np.ndarray) -> pd.DataFrame:
    """One row per non-empty bin of the confidence: mean confidence, accuracy, and number of images."""
    confidence, predicted = largest(probabilities)
    return binned(confidence, predicted == labels)


def binned(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """As `reliability`, from the confidence (N,) of predictions and which are correct (N,) bool."""
    table = pd.DataFrame({"confidence": confidence, "accuracy": correct.astype(float), "images": 1})
    return table.groupby(_equal_width(confidence)).agg({"confidence": "mean", "accuracy": "mean", "images": "sum"})


def _equal_width(values: np.ndarray) -> np.ndarray:
    """The bins (N,) int64 of values (N,) in 0..1."""
    return np.minimum((values * BINS).astype(int), BINS - 1)


def _equal_mass(values: np.ndarray) -> np.ndarray:
    """The bins (N,) int64 of values (N,); equal values share one, whatever their order."""
    return np.searchsorted(np.sort(values), values) * BINS // len(values)


def _error(predicted: np.ndarray, observed: np.ndarray, bins: np.ndarray) -> float:
    """The mean over N examples of the bin's difference between mean predicted (N,) and mean observed (N,)."""
    return float(np.abs(np.bincount(bins, predicted) - np.bincount(bins, observed)).sum() / len(bins))


def _interval(
    images: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray, independent: float
) -> tuple[float, tuple[float, float], float]:
    """The error over B bins, the bounds of its 95 % interval, and its mean for a calibrated classifier.

    Each array is (B,): the number of images, their mean confidence and their accuracy. Draws have the fraction
    `independent` of the images.
    """
    random = numpy_generator(0, "calibration error")
    drawn = np.maximum(np.rint(images * independent).astype(np.int64), 1)

    def errors(found: np.ndarray) -> np.ndarray:
        return np.abs(found - confidence) @ images / images.sum()

    def draws(fraction: np.ndarray) -> np.ndarray:
        return errors(random.binomial(drawn, np.minimum(fraction, 1), size=(RESAMPLES, len(images))) / drawn)

    error, null = float(errors(accuracy)), draws(confidence)
    smoothed = (accuracy * drawn + 1) / (drawn + 2)  # a bin without an incorrect prediction still varies
    resampled = draws(smoothed)
    smallest, largest = np.percentile(resampled, [2.5, 97.5])
    is_chance = error <= np.percentile(null, 97.5)
    low = 0.0 if is_chance else max(0.0, error - float(largest - errors(smoothed)))
    return error, (low, min(1.0, error + float(resampled.mean() - smallest))), float(null.mean())
