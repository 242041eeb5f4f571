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
        fitted = conformal.fit(with_label_probabilities(values[:count]), np.zeros(count, np.int64), 0.95, 0.95)
        assert fitted["marginal"] == expected


def test_the_threshold_of_a_class_shows_the_coverage():
    """0.95^59 is below 5 %, 0.95^58 is not: the lowest of 59. Of 93, one may be missed: P(at most 1) = 4.97 %."""
    values = np.arange(1, 94) / 94
    for count, expected in ((58, 0.0), (59, values[0]), (92, values[0]), (93, values[1])):
        fitted = conformal.fit(with_label_probabilities(values[:count]), np.zeros(count, np.int64), 0.95, 0.95)
        assert fitted["class_conditional"][0] == expected


def test_too_few_examples_put_every_class_in_every_set():
    fitted = conformal.fit(with_label_probabilities(np.full(18, 0.9)), np.zeros(18, np.int64), 0.95, 0.95)
    assert fitted == {"coverage": 0.95, "marginal": 0.0, "class_conditional": [0.0, 0.0]}
    assert conformal.sets(np.array([[1.0, 0.0]]), fitted["marginal"]).tolist() == [[True, True]]


def test_a_class_with_too_few_examples_is_in_every_set():
    probabilities = np.array([[0.9, 0.1]] * 60 + [[0.2, 0.8]] * 3)
    fitted = conformal.fit(probabilities, np.array([0] * 60 + [1] * 3), 0.95, 0.95)
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
    fitted = conformal.fit(probabilities, labels, coverage, 0.95)
    for kind in ("marginal", "class_conditional"):
        hits = conformal.sets(probabilities, np.array(fitted[kind]))[np.arange(count), labels]
        assert hits.mean() >= coverage
        if kind == "class_conditional":
            assert min(hits[labels == label].mean() for label in np.unique(labels)) >= coverage


def test_new_examples_are_covered_in_every_class():
    """In 95 % of 200 fits on 60 examples per class, also where probabilities and labels have nothing in common."""
    random, coverages = np.random.default_rng(0), []
    labels = np.arange(180) % 3
    test, test_labels = random.dirichlet([1.0, 2.0, 0.5], 6000), np.arange(6000) % 3
    for _ in range(200):
        fitted = conformal.fit(random.dirichlet([1.0, 2.0, 0.5], 180), labels, 0.9, 0.95)
        hits = conformal.sets(test, np.array(fitted["class_conditional"]))[np.arange(6000), test_labels]
        coverages.append([hits[test_labels == label].mean() for label in range(3)])
    assert (np.array(coverages) < 0.9).mean() <= 0.08  # 5 % and three standard errors


def grouped(random: np.random.Generator, units: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (units * size, 2) for label 0, the same in each group; labels, and groups."""
    groups = np.repeat([f"g{unit}" for unit in range(units)], size)
    return with_label_probabilities(np.repeat(random.random(units), size)), np.zeros(len(groups), np.int64), groups


def test_a_group_counts_as_one_example():
    """Marginal sets of 19 groups of ten equal examples are those of 19 examples; of 18, every class is in every set."""
    for units in (18, 19, 39):
        probabilities, labels, groups = grouped(np.random.default_rng(0), units, 10)
        singles = conformal.fit(probabilities[::10], labels[::10], 0.95, 0.95)
        assert conformal.fit(probabilities, labels, 0.95, 0.95, groups)["marginal"] == singles["marginal"]


def test_examples_in_no_group_count_as_without_groups():
    random = np.random.default_rng(0)
    probabilities, labels = random.dirichlet([1.0, 2.0], 300), random.integers(2, size=300)
    none = np.full(300, "")
    assert conformal.fit(probabilities, labels, 0.9, 0.95, none) == conformal.fit(probabilities, labels, 0.9, 0.95)
    fitted = conformal.fit(probabilities, labels, 0.9, 0.95)
    assert conformal.summary(probabilities, labels, fitted, none) == conformal.summary(probabilities, labels, fitted)


def test_new_groups_are_covered():
    """On average over 300 fits on 30 groups of 20 equal examples; the bounds are wider than without groups."""
    random, missed = np.random.default_rng(0), []
    for _ in range(300):
        probabilities, labels, groups = grouped(random, 30, 20)
        fitted = conformal.fit(probabilities, labels, 0.9, 0.95, groups)
        missed.append(fitted["marginal"])  # label probabilities are uniform: so is the fraction below the threshold
    assert np.mean(missed) <= 0.1 + 3 * 0.055 / 300**0.5
    fitted = {"coverage": 0.9, "marginal": 0.4, "class_conditional": [0.4, 0.4]}
    alone, together = (conformal.summary(probabilities, labels, fitted, some) for some in (None, groups))
    for key in ("conformal_coverage", "conformal_class_coverage_worst"):
        assert together[key] == alone[key]
        assert together[f"{key}_low"] < alone[f"{key}_low"] and together[f"{key}_high"] > alone[f"{key}_high"]
