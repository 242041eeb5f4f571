import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.evaluate import conformal
from darkroom.statistics.intervals import clopper_pearson, wilson


def with_label_probabilities(values: np.ndarray) -> np.ndarray:
    """Probabilities (n, 2) whose first column is `values`."""
    return np.column_stack([values, 1 - np.asarray(values)])


def test_the_threshold_is_the_quantile_with_the_correction_for_finite_samples():
    """Of 19 label probabilities, rank ceil(20 · 0.95) = 19 is the lowest; of 39, rank 38."""
    values = np.arange(1, 40) / 40
    for count, expected in ((19, values[0]), (39, values[1]), (38, values[0])):
        fitted = conformal.fit(with_label_probabilities(values[:count]), np.zeros(count, np.int64), 0.95)
        assert fitted["marginal"] == fitted["class_conditional"][0] == expected


def test_too_few_examples_put_every_class_in_every_set():
    fitted = conformal.fit(with_label_probabilities(np.full(18, 0.9)), np.zeros(18, np.int64), 0.95)
    assert fitted == {"coverage": 0.95, "marginal": 0.0, "class_conditional": [0.0, 0.0]}
    assert conformal.sets(np.array([[1.0, 0.0]]), fitted["marginal"]).tolist() == [[True, True]]


def test_a_class_with_too_few_examples_is_in_every_set():
    probabilities = np.array([[0.9, 0.1]] * 40 + [[0.2, 0.8]] * 3)
    fitted = conformal.fit(probabilities, np.array([0] * 40 + [1] * 3), 0.95)
    assert fitted["class_conditional"] == [0.9, 0.0]


def test_a_set_holds_the_most_probable_class_in_any_case():
    assert conformal.sets(np.array([[0.6, 0.4], [0.3, 0.7]]), 0.9).tolist() == [[True, False], [False, True]]
    assert conformal.sets(np.array([[0.6, 0.4]]), np.array([0.7, 0.4])).tolist() == [[True, True]]


PROBABILITIES = np.array([[0.6, 0.4, 0.0], [0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
LABELS = np.array([0, 1, 1])
FITTED = {"coverage": 0.9, "marginal": 0.5, "class_conditional": [0.5, 0.3, 0.9]}


def test_summary_by_hand():
    """Marginal sets are {0}, {0}, {1}: two hold the label. Class-conditional ones are {0, 1}, {0}, {1}."""
    assert conformal.summary(PROBABILITIES, LABELS, FITTED) == {
        "conformal_coverage": pytest.approx(2 / 3),
        "conformal_coverage_low": wilson(2, 3)[0],
        "conformal_coverage_high": wilson(2, 3)[1],
        "conformal_size": 1.0,
        "conformal_singletons": 1.0,
        "conformal_class_coverage_worst": 0.5,
        "conformal_class_coverage_worst_low": pytest.approx(clopper_pearson(1, 2, 0.975)[0]),
        "conformal_class_coverage_worst_high": pytest.approx(clopper_pearson(1, 2, 0.975)[1]),
        "conformal_class_size": pytest.approx(4 / 3),
    }


def test_table_by_hand():
    table = conformal.per_class(PROBABILITIES, LABELS, FITTED, ("a", "b", "c"))
    assert table["class"].tolist() == ["a", "b", "c"] and table["support"].tolist() == [1, 2, 0]
    expected = {"coverage": [1, 0.5], "size": [2, 1], "marginal_coverage": [1, 0.5], "marginal_size": [1, 1]}
    for name, values in expected.items():
        assert table[name].tolist() == pytest.approx([*values, np.nan], nan_ok=True)
    assert table["threshold"].tolist() == [0.5, 0.3, 0.9]
    assert (table["coverage_low"][1], table["coverage_high"][1]) == tuple(wilson(1, 2))


@settings(max_examples=30)
@given(st.integers(1, 400), st.integers(2, 5), st.sampled_from([0.8, 0.9, 0.95]), st.integers(0, 10**6))
def test_sets_cover_the_examples_that_they_were_fitted_on(count: int, classes: int, coverage: float, seed: int):
    """At least the fraction `coverage` of them, overall and in every class, whatever the probabilities."""
    random = np.random.default_rng(seed)
    probabilities, labels = random.dirichlet(np.ones(classes), count), random.integers(classes, size=count)
    fitted = conformal.fit(probabilities, labels, coverage)
    for kind in ("marginal", "class_conditional"):
        hits = conformal.sets(probabilities, np.array(fitted[kind]))[np.arange(count), labels]
        assert hits.mean() >= coverage
        if kind == "class_conditional":
            assert min(hits[labels == label].mean() for label in np.unique(labels)) >= coverage


def test_new_examples_are_covered_in_every_class():
    """On average over 200 fits on 60 examples per class, also where probabilities and labels have nothing in common."""
    random, coverages = np.random.default_rng(0), []
    labels = np.arange(180) % 3
    for _ in range(200):
        val, test = (random.dirichlet([1.0, 2.0, 0.5], 180) for _ in range(2))
        fitted = conformal.fit(val, labels, 0.9)
        hits = conformal.sets(test, np.array(fitted["class_conditional"]))[np.arange(180), labels]
        coverages.append([hits[labels == label].mean() for label in range(3)])
    assert np.mean(coverages, axis=0).min() >= 0.888  # three standard errors below 0.9
