import numpy as np
import pytest

from darkroom.learning_curve.power_law import Curve, fit

SIZES = (500, 1000, 2000, 4000, 8000)
MEASURED = 3000


def measured(curve: Curve, labels: int, noise: float, random: np.random.Generator) -> int:
    """Incorrect predictions of a training on MEASURED examples."""
    error = curve.error(np.array(labels)) * np.exp(noise * random.standard_normal())
    return int(random.binomial(MEASURED, min(error, 0.95)))


def test_a_law_without_noise_is_found():
    curve = Curve(2.0, 0.4, 0.02)
    labels = np.repeat(SIZES, 3)
    found = fit(labels, curve.error(labels) * 10**6, 10**6, [16_000, 80_000])
    assert found.curve.error(np.array([500, 8000])) == pytest.approx(curve.error(np.array([500, 8000])), rel=0.02)
    assert found.median == pytest.approx(curve.error(np.array([16_000, 80_000])), rel=0.1)
    assert np.all((found.low < found.median) & (found.median < found.high))
    assert np.all(np.diff(found.high - found.low) > 0 * found.low[1:])  # less certain farther away


def test_the_interval_holds_the_error_with_four_times_the_labels_in_nine_of_ten_trials():
    random, inside = np.random.default_rng(0), 0
    trials = 40
    for _ in range(trials):
        exponent, floor = random.uniform(0.15, 0.8), random.uniform(0, 0.6)
        first, noise = random.uniform(0.1, 0.5), random.uniform(0.01, 0.06)
        curve = Curve(first * (1 - floor) * SIZES[0] ** exponent, exponent, first * floor)
        labels = np.repeat(SIZES, 3)
        incorrect = [measured(curve, size, noise, random) for size in labels.tolist()]
        target = 4 * SIZES[-1]
        found = fit(labels, incorrect, MEASURED, [target])
        error = measured(curve, target, noise, random) / MEASURED
        inside += bool(found.low[0] <= error <= found.high[0])
    assert inside >= 0.9 * trials


def test_more_seeds_make_the_interval_narrower():
    def width(seeds: int) -> float:
        random = np.random.default_rng(1)
        labels = np.repeat(SIZES, seeds)
        curve = Curve(3.0, 0.4, 0.02)
        found = fit(labels, [measured(curve, size, 0.2, random) for size in labels.tolist()], MEASURED, [32_000])
        return float(found.high[0] - found.low[0])

    assert width(12) < width(1)


@pytest.mark.parametrize("incorrect", [0, MEASURED])
def test_no_errors_and_only_errors_give_finite_numbers(incorrect: int):
    found = fit(SIZES, [incorrect] * len(SIZES), MEASURED, [8000, 80_000])
    for part in (found.median, found.low, found.high):
        assert np.all((part >= 0) & (part <= 1))


def test_too_few_numbers_of_labels_are_rejected():
    with pytest.raises(ValueError, match="at least 3"):
        fit([10, 20, 20], [5, 4, 4], 100, [40])
