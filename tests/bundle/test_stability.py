import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, chi2_contingency

from darkroom.bundle import stability as room
from darkroom.bundle.stability import ALARM, FLOOR, MIN_EXPECTED, min_samples, p_value, stability
from darkroom.core.randomness import numpy_generator

COUNTS = st.lists(st.integers(0, 1000), min_size=2, max_size=20)
RARE = np.array([0.98, 0.02])  # of the fractions tried, those with the largest random changes


def test_the_index_of_a_small_example():
    assert stability([0.5, 0.5], [0.5, 0.5]) == 0
    assert stability([50, 50], [1, 3]) == pytest.approx(
        0.25 * np.log(2) + 0.25 * np.log(1.5)
    )  # (0.25 - 0.5) ln(0.25 / 0.5) + (0.75 - 0.5) ln(0.75 / 0.5)


def test_an_empty_bin_counts_as_the_floor():
    assert stability([0.5, 0.5], [0, 1]) == pytest.approx((FLOOR - 0.5) * np.log(FLOOR / 0.5) + 0.5 * np.log(2))
    assert stability([0, 1], [0, 1]) == 0


@given(COUNTS, st.data())
def test_the_index_is_symmetric_and_zero_only_for_equal_distributions(counts: list[int], data: st.DataObject):
    other = data.draw(st.lists(st.integers(0, 1000), min_size=len(counts), max_size=len(counts)))
    expected, observed = (np.array(some) + (np.arange(len(some)) == 0) for some in (counts, other))  # never all 0
    index = stability(expected, observed)
    assert index == pytest.approx(stability(observed, expected)) and np.isfinite(index)
    assert (index > 0) == (not np.array_equal(*(np.maximum(some / some.sum(), FLOOR) for some in (expected, observed))))
    assert stability(expected, 7 * expected) == pytest.approx(0, abs=1e-12)


@given(st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, 100.0, 255.0]) | st.floats(0, 255), min_size=1, max_size=500))
def test_any_values_give_increasing_edges_and_at_most_ten_bins(values: list[float]):
    edges = room.edges(np.array(values))
    assert 1 <= len(edges) <= 9 and (np.diff(edges) > 0).all()


def test_few_images_give_fewer_bins():
    numbers = [
        len(room.edges(np.arange(n, dtype=float))) + 1
        for n in (1, min_samples(2), min_samples(3), min_samples(9), min_samples(10), 10_000)
    ]
    assert numbers == [2, 2, 3, 9, 10, 10]


@pytest.mark.parametrize(
    "fractions",
    [
        np.full(2, 0.5),
        np.full(10, 0.1),
        np.full(100, 0.01),
        1 / np.arange(1, 101),
        np.array([0.97, *[0.003] * 10]),
        RARE,
    ],
)
def test_chance_alone_does_not_reach_the_alarm(fractions: np.ndarray):
    """Reference and window have the minimum size and one distribution."""
    n = min_samples(len(fractions))
    samples = numpy_generator(0, "drift", len(fractions)).multinomial(n, fractions / fractions.sum(), (4000, 2))
    indices = np.array([stability(*pair) for pair in samples])
    assert (indices >= ALARM).sum() <= (fractions is RARE) * 2
    assert indices.mean() <= 1.6 * (len(fractions) - 1) * 2 / n  # the bias


def test_the_bias_is_as_in_theory_if_no_bin_is_rare():
    samples = numpy_generator(0, "drift", "bias").multinomial(500, np.full(10, 0.1), 4000)
    assert np.mean([stability(np.full(10, 0.1), sample) for sample in samples]) == pytest.approx(9 / 500, rel=0.05)


@given(COUNTS.filter(any), st.data())
def test_the_p_value_is_that_of_scipy_if_no_bin_is_rare(counts: list[int], data: st.DataObject):
    other = data.draw(st.lists(st.integers(20, 1000), min_size=len(counts), max_size=len(counts)))
    table = np.array([np.array(counts) + 20, other])
    if (np.outer(table.sum(1), table.sum(0)) / table.sum()).min() >= MIN_EXPECTED:
        assert p_value(*table) == pytest.approx(chi2_contingency(table, correction=False).pvalue, rel=1e-9, abs=1e-300)


@given(st.floats(0, 2000), st.integers(1, 1000))
def test_the_tail_of_chi_square_is_that_of_scipy(value: float, freedom: int):
    assert room.chi_square_tail(value, freedom) == pytest.approx(chi2.sf(value, freedom), rel=1e-9, abs=1e-300)


@given(COUNTS, st.data())
def test_the_p_value_is_a_probability_symmetric_and_1_for_equal_samples(counts: list[int], data: st.DataObject):
    other = data.draw(st.lists(st.integers(0, 1000), min_size=len(counts), max_size=len(counts)))
    assert 0 <= p_value(counts, other) <= 1
    assert p_value(counts, other) == pytest.approx(p_value(other, counts), rel=1e-9)
    assert p_value(counts, counts) == pytest.approx(1)


def test_rare_bins_are_merged():
    # In the smaller sample, 4 images are expected in the last two bins together, fewer than 5: the second joins them.
    assert p_value([900, 96, 2, 2], [880, 116, 2, 2]) == p_value([900, 100], [880, 120])
    assert p_value([900, 92, 4, 4], [880, 110, 5, 5]) == p_value([900, 92, 8], [880, 110, 10])
    assert p_value([1000, 0, 3], [990, 0, 4]) == 1  # one bin remains
    assert p_value([5, 5], [0, 0]) == 1


@pytest.mark.parametrize("sizes", [(6000, 2000), (700, 2000)])
@pytest.mark.parametrize("fractions", [np.full(10, 0.1), 1 / np.arange(1, 101), RARE])
def test_the_p_value_of_samples_of_one_distribution_is_uniform(fractions: np.ndarray, sizes: tuple[int, int]):
    random = numpy_generator(0, "p-value", len(fractions), *sizes)
    samples = zip(*(random.multinomial(size, fractions / fractions.sum(), 4000) for size in sizes), strict=True)
    found = np.array([p_value(*pair) for pair in samples])
    for level in (0.01, 0.05, 0.5):
        assert abs((found < level).mean() - level) < 4 * np.sqrt(level * (1 - level) / 4000) + 0.02 * (level == 0.5)


def test_the_service_can_use_it_without_scipy():
    code = "import sys; import darkroom.bundle.stability; print('scipy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
