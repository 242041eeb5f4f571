import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.core.errors import DarkroomError
from darkroom.evaluate import metrics
from darkroom.models import inference
from darkroom.statistics.intervals import fraction_interval, mean_interval, wilson

# Predicted 0, 0, 1, 1; the labels of the last two rank second and third.
LOGITS = np.log(
    np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.625, 0.125]], dtype=np.float32)
)
LABELS = np.array([0, 0, 0, 2])


def test_summary_by_hand():
    summary = metrics.summary(LOGITS, LABELS, top_k=2)
    assert list(summary) == [
        *("accuracy", "accuracy_low", "accuracy_high"),
        *("loss", "loss_low", "loss_high"),
        *("macro_f1", "macro_f1_low", "macro_f1_high"),
        *("balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"),
        *("matthews_correlation", "matthews_correlation_low", "matthews_correlation_high"),
        *("worst_class_accuracy", "roc_auc", "average_precision", "accuracy_top_k", "samples"),
    ]
    assert summary["worst_class_accuracy"] == 0
    assert summary["accuracy"] == 0.5
    assert summary["accuracy_top_k"] == 0.75
    assert summary["samples"] == 4
    assert summary["loss"] == pytest.approx((math.log(2) + math.log(2) + math.log(4) + math.log(8)) / 4)
    assert summary["macro_f1"] == pytest.approx((0.8 + 0) / 2)  # the second class has no test examples
    assert summary["balanced_accuracy"] == pytest.approx((2 / 3 + 0) / 2)


def test_accuracy_interval_is_wilsons():
    """By his formula, 9,550 of 10,000 gives 95.1 to 95.9 %."""
    logits = np.tile(np.array([[1, 0]], dtype=np.float32), (10_000, 1))
    labels = (np.arange(10_000) >= 9_550).astype(np.int64)
    n, p, z = 10_000, 0.955, 1.959963984540054
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    summary = metrics.summary(logits, labels, top_k=2)
    assert summary["accuracy_low"] == pytest.approx(centre - half, abs=1e-9)
    assert summary["accuracy_high"] == pytest.approx(centre + half, abs=1e-9)


def test_loss_interval_is_that_of_a_mean():
    logits, labels = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32), np.zeros(1000, np.int64)
    losses = -np.log(inference.probabilities(logits.astype(np.float64))[:, 0])
    summary = metrics.summary(logits, labels, 2)
    assert (summary["loss_low"], summary["loss_high"]) == pytest.approx(mean_interval(losses), rel=1e-5)


def test_intervals_know_the_groups():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 50).astype(str)
    hard = np.repeat(random.normal(size=20) > 0, 50)
    labels = random.integers(3, size=1000)
    logits = (np.eye(3, dtype=np.float32)[labels] + random.normal(size=(1000, 3)) * (0.2 + hard[:, None])).astype("f4")
    apart, together = metrics.summary(logits, labels, 2), metrics.summary(logits, labels, 2, groups)
    bounds = [name for name in apart if name.endswith("_low")]
    assert len(bounds) == 5
    for name in bounds:
        width, wider = (some[name.replace("_low", "_high")] - some[name] for some in (apart, together))
        assert wider > 1.5 * width, name
    assert {name: apart[name] for name in apart if not name.endswith(("_low", "_high"))} == {
        name: together[name] for name in together if not name.endswith(("_low", "_high"))
    }
    table = metrics.per_class(logits, labels, ("a", "b", "c"), groups)
    own = labels == 1
    expected = fraction_interval((logits.argmax(1) == labels)[own], groups[own])
    assert table.loc[1, ["recall_low", "recall_high"]].tolist() == pytest.approx(expected)


def test_one_example_says_nothing_of_the_loss_of_others():
    summary = metrics.summary(LOGITS[:1], LABELS[:1], 2)
    assert "loss" in summary and "loss_low" not in summary and "loss_high" not in summary


def test_a_single_class_cannot_be_ranked():
    assert "roc_auc" not in metrics.summary(LOGITS[:3], LABELS[:3], 2)


def test_extreme_logits_have_a_finite_loss():
    summary = metrics.summary(np.array([[3e38, -3e38]], dtype=np.float32), np.array([1]), top_k=2)
    assert math.isfinite(summary["loss"])


def test_top_k_accuracy_is_1_if_k_is_at_least_the_number_of_classes():
    assert metrics.summary(LOGITS, LABELS, top_k=3)["accuracy_top_k"] == 1
    assert metrics.summary(LOGITS, LABELS, top_k=4)["accuracy_top_k"] == 1


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_rejected(broken: float):
    with pytest.raises(DarkroomError, match="models/trained"):
        metrics.summary(np.where(LOGITS[0, 0] == LOGITS, broken, LOGITS), LABELS, top_k=2)


def test_per_class_by_hand():
    table = metrics.per_class(LOGITS, LABELS, ("shirt", "coat", "bag"))
    nan = pytest.approx(math.nan, nan_ok=True)
    assert table.to_dict("list") == {
        "class": ["shirt", "coat", "bag"],
        "precision": [1, 0, 0],
        "recall": [pytest.approx(2 / 3), nan, 0],
        "f1": [pytest.approx(0.8), nan, 0],
        "support": [3, 0, 1],
        "precision_low": [pytest.approx(wilson(2, 2)[0]), 0, 0],
        "precision_high": [1, pytest.approx(wilson(0, 2)[1]), 1],
        "recall_low": [pytest.approx(wilson(2, 3)[0]), 0, 0],
        "recall_high": [pytest.approx(wilson(2, 3)[1]), 1, pytest.approx(wilson(0, 1)[1])],
    }


def test_confused_pairs_by_hand():
    labels, predicted = np.array([0, 0, 0, 1, 2, 2, 0]), np.array([1, 1, 0, 1, 0, 1, 2])
    table = metrics.confused_pairs(labels, predicted, ("shirt", "coat", "bag"))
    assert table.columns.tolist() == ["label", "predicted", "count", "fraction"]
    assert table.values.tolist() == [
        ["shirt", "coat", 2, 0.5],
        ["shirt", "bag", 1, 0.25],
        ["bag", "shirt", 1, 0.5],
        ["bag", "coat", 1, 0.5],
    ]
    assert metrics.confused_pairs(labels, labels, ("shirt", "coat", "bag")).empty


def test_only_the_most_frequent_confused_pairs_are_listed():
    labels = np.arange(80)
    assert len(metrics.confused_pairs(labels, (labels + 1) % 80, [f"{name}" for name in labels])) == metrics.MAX_PAIRS


def test_predictions_by_hand():
    classes = ("shirt", "coat", "bag")
    table = metrics.predictions(inference.probabilities(LOGITS), LABELS, np.array(["a", "b", "c", "d"]), classes)
    assert table["id"].tolist() == ["a", "b", "c", "d"]
    assert table["label"].tolist() == ["shirt", "shirt", "shirt", "bag"]
    assert table["predicted"].tolist() == ["shirt", "shirt", "coat", "coat"]
    assert table["confidence"].tolist() == pytest.approx([0.5, 0.5, 0.5, 0.625])
    assert table["label_probability"].tolist() == pytest.approx([0.5, 0.5, 0.25, 0.125])
    more = {"group": np.array(["p", "p", "q", ""])}
    table = metrics.predictions(inference.probabilities(LOGITS), LABELS, np.array(["a", "b", "c", "d"]), classes, more)
    assert table.columns.tolist()[-2:] == ["label_probability", "group"]


@st.composite
def logits_and_labels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K), many of them equal, and labels (N,)."""
    samples, classes = draw(st.integers(1, 30)), draw(st.integers(2, 6))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return generator.integers(-3, 4, (samples, classes)).astype(np.float32), generator.integers(0, classes, samples)


@settings(max_examples=30, deadline=None)
@given(logits_and_labels())
def test_invariants(case: tuple[np.ndarray, np.ndarray]):
    logits, labels = case
    summary = metrics.summary(logits, labels, top_k=2)
    assert 0 <= summary["accuracy_low"] <= summary["accuracy"] + 1e-12
    assert summary["accuracy"] <= summary["accuracy_high"] + 1e-12 <= 1 + 2e-12
    assert summary["accuracy"] == (logits.argmax(1) == labels).mean() <= summary["accuracy_top_k"] <= 1
    assert metrics.summary(logits, labels, top_k=logits.shape[1])["accuracy_top_k"] == 1
    names = [str(k) for k in range(logits.shape[1])]
    assert summary["macro_f1"] == pytest.approx(metrics.per_class(logits, labels, names)["f1"].mean())
    for name in ("macro_f1", "balanced_accuracy", "matthews_correlation"):
        assert -1 <= summary[f"{name}_low"] <= summary[name] <= summary[f"{name}_high"] <= 1
    assert summary["worst_class_accuracy"] <= summary["balanced_accuracy"]
    assert summary["loss"] >= 0


@settings(max_examples=20, deadline=None)
@given(logits_and_labels(), st.randoms(use_true_random=False))
def test_order_of_examples_does_not_matter(case: tuple[np.ndarray, np.ndarray], random):
    logits, labels = case
    order = random.sample(range(len(labels)), len(labels))
    expected, found = (metrics.summary(logits[rows], labels[rows], top_k=2) for rows in (range(len(labels)), order))
    drawn = ("loss_", "macro_f1_", "balanced_accuracy_", "matthews_correlation_")  # bounds from the bootstrap
    assert set(expected) == set(found)
    for name in set(expected):
        assert found[name] == pytest.approx(expected[name]) or name.startswith(drawn)


def test_summary_line_has_the_accuracy_and_its_interval():
    numbers = {"samples": 9, "accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75, "loss": 1.5, "macro_f1": 0.4}
    line = metrics.summary_line(numbers)
    assert all(part in line for part in ("9 test examples", "50.00%", "25.00%", "75.00%", "1.5", "0.4"))
