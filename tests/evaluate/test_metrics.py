import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score

from darkroom.core.errors import DarkroomError
from darkroom.evaluate import metrics
from darkroom.models import inference

# Predicted 0, 0, 1, 1; the labels of the last two rank second and third.
LOGITS = np.log(
    np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.625, 0.125]], dtype=np.float32)
)
LABELS = np.array([0, 0, 0, 2])


def wilson(successes: int, total: int) -> tuple[float, float]:
    interval = binomtest(successes, total).proportion_ci(confidence_level=0.95, method="wilson")
    return interval.low, interval.high


def test_summary_by_hand():
    summary = metrics.summary(LOGITS, LABELS, top_k=2)
    assert list(summary) == [
        *("accuracy", "accuracy_low", "accuracy_high"),
        *("loss", "loss_low", "loss_high"),
        *("macro_f1", "macro_f1_low", "macro_f1_high"),
        *("worst_class_accuracy", "accuracy_top_k", "samples"),
    ]
    assert summary["worst_class_accuracy"] == 0
    assert summary["accuracy"] == 0.5
    assert summary["accuracy_top_k"] == 0.75
    assert summary["samples"] == 4
    assert summary["loss"] == pytest.approx((math.log(2) + math.log(2) + math.log(4) + math.log(8)) / 4)
    assert summary["macro_f1"] == pytest.approx((2 * 1 * (2 / 3) / (1 + 2 / 3) + 0 + 0) / 3)


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
    losses = -np.log(inference.probabilities(logits)[:, 0])
    summary = metrics.summary(logits, labels, 2)
    assert summary["loss_low"] == pytest.approx(losses.mean() - 1.96 * losses.std(ddof=1) / math.sqrt(1000), abs=1e-5)
    assert summary["loss_high"] - summary["loss"] == pytest.approx(summary["loss"] - summary["loss_low"])


def test_bootstrap_keeps_one_confusion_matrix_in_memory(monkeypatch: pytest.MonkeyPatch):
    """All resamples of a thousand classes would take 16 GB."""
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    counts = np.eye(400, dtype=np.int64)
    tracemalloc.start()
    try:
        metrics.macro_f1_interval(counts)
        assert tracemalloc.get_traced_memory()[1] < 10 * counts.nbytes
    finally:
        tracemalloc.stop()


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
    assert table.to_dict("list") == {
        "class": ["shirt", "coat", "bag"],
        "precision": [1, 0, 0],
        "recall": [pytest.approx(2 / 3), 0, 0],
        "f1": [pytest.approx(0.8), 0, 0],
        "support": [3, 0, 1],
        "precision_low": [pytest.approx(wilson(2, 2)[0]), 0, 0],
        "precision_high": [1, pytest.approx(wilson(0, 2)[1]), 1],
        "recall_low": [pytest.approx(wilson(2, 3)[0]), 0, 0],
        "recall_high": [pytest.approx(wilson(2, 3)[1]), 1, pytest.approx(wilson(0, 1)[1])],
    }


@settings(max_examples=50)
@given(st.integers(1, 10_000), st.integers(0, 10_000))
def test_wilsons_interval_is_that_of_scipy(total: int, successes: int):
    successes = min(successes, total)
    assert metrics.wilson(successes, total) == pytest.approx(np.array(wilson(successes, total)), abs=1e-12)
    assert metrics.wilson(np.array([successes, 0]), np.array([total, 0]))[:, 1].tolist() == [0, 1]


def test_macro_f1_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    # Class 5 never occurs; class 6 neither occurs nor is predicted.
    labels, predicted = random.integers(5, size=200), random.integers(6, size=200)
    counts = confusion_matrix(labels, predicted, labels=np.arange(7))
    assert metrics.macro_f1(counts) == pytest.approx(
        f1_score(labels, predicted, labels=np.arange(7), average="macro", zero_division=0)
    )


def test_macro_f1_interval_is_that_of_resampled_examples():
    random = np.random.default_rng(0)
    labels = random.integers(3, size=500)
    predicted = np.where(random.random(500) < 0.8, labels, random.integers(3, size=500))
    low, high = metrics.macro_f1_interval(confusion_matrix(labels, predicted))
    resampled = [random.integers(500, size=500) for _ in range(1000)]
    scores = [f1_score(labels[chosen], predicted[chosen], average="macro") for chosen in resampled]
    assert (low, high) == pytest.approx(np.percentile(scores, [2.5, 97.5]), abs=0.006)


def test_predictions_by_hand():
    classes = ("shirt", "coat", "bag")
    table = metrics.predictions(inference.probabilities(LOGITS), LABELS, np.array(["a", "b", "c", "d"]), classes)
    assert table["id"].tolist() == ["a", "b", "c", "d"]
    assert table["label"].tolist() == ["shirt", "shirt", "shirt", "bag"]
    assert table["predicted"].tolist() == ["shirt", "shirt", "coat", "coat"]
    assert table["confidence"].tolist() == pytest.approx([0.5, 0.5, 0.5, 0.625])
    assert table["label_probability"].tolist() == pytest.approx([0.5, 0.5, 0.25, 0.125])


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
    assert 0 <= summary["macro_f1"] <= 1
    assert summary["loss"] >= 0


@settings(max_examples=20, deadline=None)
@given(logits_and_labels(), st.randoms(use_true_random=False))
def test_order_of_examples_does_not_matter(case: tuple[np.ndarray, np.ndarray], random):
    logits, labels = case
    order = random.sample(range(len(labels)), len(labels))
    expected = metrics.summary(logits, labels, top_k=2)
    assert metrics.summary(logits[order], labels[order], top_k=2) == pytest.approx(expected)


def test_accuracy_of_sums_of_logits():
    first, second = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 3.0], [0.0, 1.0]])
    labels = np.array([1, 1])
    assert metrics.accuracy(first, labels) == 0.5
    assert metrics.accuracy(first + second, labels) == 1.0


def test_summary_line_has_the_accuracy_and_its_interval():
    numbers = {"samples": 9, "accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75, "loss": 1.5, "macro_f1": 0.4}
    line = metrics.summary_line(numbers)
    assert all(part in line for part in ("9 test images", "50.00%", "25.00%", "75.00%", "1.5", "0.4"))
