import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from darkroom.review import ranking


def delong(is_positive: np.ndarray, old: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """Difference and standard error as in the paper, from all pairs."""
    found = []
    for scores in (old, new):
        pairs = scores[is_positive][:, None] - scores[~is_positive]
        found.append((pairs > 0) + 0.5 * (pairs == 0))
    change = found[1] - found[0]
    m, n = change.shape
    variance = change.mean(1).var(ddof=1) / m + change.mean(0).var(ddof=1) / n
    return change.mean(), np.sqrt(variance)


def examples(seed: int, gain: float, n: int = 300) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    is_positive = random.random(n) < 0.3
    shared = random.normal(size=n)
    old, new = (np.round(shared + is_positive * a + random.normal(size=n), 1) for a in (1.0, 1.0 + gain))
    return is_positive, old, new


def test_the_difference_and_its_error_are_delongs():
    is_positive, old, new = examples(0, 0.5)
    found = ranking.difference(is_positive, old, new)
    value, error = delong(is_positive, old, new)
    assert found.value == pytest.approx(value)
    assert found.value == pytest.approx(roc_auc_score(is_positive, new) - roc_auc_score(is_positive, old))
    assert (found.high - found.low) / 2 == pytest.approx(norm.isf(0.025) * error, rel=0.01)
    assert found.p == pytest.approx(2 * norm.sf(abs(value) / error), rel=0.1)


def test_it_does_not_matter_which_class_is_the_positive_one():
    is_positive, old, new = examples(1, 0.5)
    found = ranking.difference(is_positive, old, new)
    other = ranking.difference(~is_positive, -old, -new)
    assert (other.value, other.p) == pytest.approx((found.value, found.p))


def test_equal_scores_do_not_differ():
    is_positive, old, _ = examples(2, 0)
    assert ranking.difference(is_positive, old, old).value == 0


def test_equal_classifiers_are_called_different_in_about_one_of_twenty_comparisons():
    called = [ranking.difference(*examples(seed, 0)).significant for seed in range(400)]
    assert 0.02 < np.mean(called) < 0.09


def test_a_class_with_one_example_cannot_be_compared():
    assert ranking.difference(np.array([True, False, False]), np.arange(3.0), np.arange(3.0)) is None
