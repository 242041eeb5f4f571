import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.review.prior import retraining_std

# Training examples, error, and the standard deviation beyond independent flips, as benchmarks.retraining measured it
MEASURED = [
    (600, 0.1707, 0.0035),
    (2000, 0.1346, 0.0018),
    (2000, 0.0165, 0.0007),
    (53964, 0.0604, 0.0006),
]


@pytest.mark.parametrize(("examples", "error", "std"), MEASURED)
def test_it_is_more_than_measured_but_not_five_times_as_much(examples: int, error: float, std: float):
    assert 1.5 * std < retraining_std(examples, error) < 5 * std


def test_its_parts():
    assert retraining_std(10**12, 0.25) == pytest.approx(0.003)
    assert retraining_std(1, 0.01) == pytest.approx(math.sqrt(0.01 * (0.25 + 0.000036)))
    assert retraining_std(0, 0.01) == retraining_std(1, 0.01)
    assert retraining_std(100, 0.0) == 0


@given(st.integers(1, 10**7), st.floats(0, 1), st.integers(0, 10**7), st.floats(0, 1))
def test_it_falls_with_more_examples_and_grows_with_the_error(n: int, error: float, more: int, harder: float):
    assert 0 <= retraining_std(n + more, error) <= retraining_std(n, error) <= 0.51
    low, high = sorted((error, harder))
    assert retraining_std(n, low) <= retraining_std(n, high)
