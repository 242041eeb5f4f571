import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.reasons import shapley


def linear(weights: np.ndarray):
    return lambda rows: rows.astype(np.float64) @ weights


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 100))
def test_contributions_add_up_to_the_difference_from_typical_rows(columns: int, count: int, seed: int):
    random = np.random.default_rng(seed)
    typical, row = random.normal(size=(count, columns)), random.normal(size=columns)
    weights = random.normal(size=(columns, columns))

    def score(rows: np.ndarray) -> np.ndarray:
        return np.einsum("nc,cd,nd->n", rows, weights, rows, dtype=np.float64)

    found, mean = shapley.contributions(score, row.astype(np.float32), typical.astype(np.float32))
    assert mean == pytest.approx(score(typical.astype(np.float32)).mean(), rel=1e-5, abs=1e-5)
    assert found.sum() == pytest.approx(score(row.astype(np.float32)[None])[0] - mean, rel=1e-4, abs=1e-4)


def test_a_linear_score_is_explained_exactly():
    random = np.random.default_rng(0)
    weights, typical, row = random.normal(size=5), random.normal(size=(4, 5)).astype(np.float32), np.ones(5, np.float32)
    found, _ = shapley.contributions(linear(weights), row, typical)
    np.testing.assert_allclose(found, weights * (1 - typical.mean(0)), rtol=1e-5, atol=1e-6)


def test_two_columns_that_act_together_share_what_they_add():
    found, _ = shapley.contributions(
        lambda rows: (rows[:, 0] * rows[:, 1]).astype(np.float64), np.array([1, 1, 1], np.float32), np.zeros((2, 3))
    )
    np.testing.assert_allclose(found, [0.5, 0.5, 0])


def test_missing_values_of_typical_rows_are_kept():
    typical = np.array([[np.nan, 1]], np.float32)
    found, _ = shapley.contributions(
        lambda rows: np.isnan(rows[:, 0]).astype(float), np.array([0, 0], np.float32), typical
    )
    np.testing.assert_allclose(found, [-1, 0])


def test_the_log_odds_of_a_class():
    logits = np.log(np.array([[0.2, 0.3, 0.5]]))
    np.testing.assert_allclose(shapley.log_odds(logits, 2), [0.0], atol=1e-12)
    np.testing.assert_allclose(shapley.log_odds(logits, 0), [np.log(0.2 / 0.8)])


def test_typical_rows_mix_the_values_of_many():
    rows = np.repeat(np.arange(1000, dtype=np.float32)[:, None], 4, 1)
    typical = shapley.background(rows)
    assert typical.shape == (shapley.BACKGROUND, 4) and (typical[:, :1] != typical[:, 1:]).any(1).all()
