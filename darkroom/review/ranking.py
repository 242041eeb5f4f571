"""Whether one classifier of two classes ranks the same examples better than another, by more than chance."""

import numpy as np

from darkroom.review import significance
from darkroom.review.significance import Difference


def difference(
    is_positive: np.ndarray, old: np.ndarray, new: np.ndarray, groups: np.ndarray | None = None
) -> Difference | None:
    """The difference of the areas under the ROC curve of scores old and new (N,); None if a class has few examples.

    DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
    characteristic curves", 1988. With groups (N,) int64 these are the units.
    """
    counts = {flag: int((is_positive == flag).sum()) for flag in (True, False)}
    if min(counts.values()) < 2:
        return None
    change = _components(is_positive, new) - _components(is_positive, old)
    value, deviations = float(change[is_positive].mean()), np.empty(len(change))
    for flag, count in counts.items():
        own = is_positive == flag
        deviations[own] = (change[own] - change[own].mean()) * len(change) / np.sqrt(count * (count - 1))
    return significance.studentised(value, deviations, None, groups)


def _components(is_positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """For each example (N,) the fraction of those of the other class that it is ranked correctly against; ties half."""
    found = np.empty(len(scores))
    for flag in (True, False):
        own, others = scores[is_positive == flag], np.sort(scores[is_positive != flag])
        beaten = (np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")) / (2 * len(others))
        found[is_positive == flag] = beaten if flag else 1 - beaten
    return found
