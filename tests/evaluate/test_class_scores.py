import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, matthews_corrcoef

from darkroom.evaluate import class_scores
from darkroom.evaluate.class_scores import NAMES, Counts


def predictions(n: int, classes: int, accuracy: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=n)
    return labels, np.where(random.random(n) < accuracy, labels, random.integers(classes, size=n))


def test_scores_are_those_of_scikit_learn():
    labels, predicted = predictions(200, 6, 0.7)
    labels[labels == 5] = 0  # never occurs, but is predicted; class 6 is neither
    assert Counts.of(labels, predicted, 7).scores() == pytest.approx(
        [
            f1_score(labels, predicted, labels=np.unique(labels), average="macro"),
            np.mean([(predicted == labels)[labels == name].mean() for name in range(5)]),
            matthews_corrcoef(labels, predicted),
        ]
    )
    labels, predicted = predictions(200, 5, 0.7)
    assert Counts.of(labels, predicted, 5).scores()[1] == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_correlation_is_0_if_there_is_one_label_or_one_prediction():
    one, both = np.zeros(4, np.int64), np.array([0, 1, 0, 1])
    assert Counts.of(one, both, 2).scores()[2] == Counts.of(both, one, 2).scores()[2] == 0
    assert class_scores.intervals(one, one)[1][2].tolist() == [-1, 1]


def test_scores_of_many_examples_do_not_overflow():
    labels, predicted = predictions(300_000, 4000, 0.9)
    assert Counts.of(labels, predicted, 4000).scores()[2] == pytest.approx(0.9, abs=0.01)


def test_influences_are_the_changes_by_one_more_example():
    labels, predicted = predictions(2000, 5, 0.8)
    counts = Counts.of(labels, predicted, 5)
    influences, before = counts.influences(labels, predicted), counts.scores()
    changes = [
        Counts.of(np.append(labels, label), np.append(predicted, other), 5).scores() - before
        for label, other in zip(labels[:50], predicted[:50], strict=True)
    ]
    for name, change, influence in zip(NAMES, np.transpose(changes), influences[:, :50], strict=True):
        assert change == pytest.approx(influence, abs=0.02 * np.abs(change).max()), name


def test_intervals_of_a_large_test_set_are_percentiles_of_resampled_examples():
    labels, predicted = predictions(3000, 3, 0.8)
    random = np.random.default_rng(1)
    drawn = [random.integers(3000, size=3000) for _ in range(1000)]
    resampled = [Counts.of(labels[rows], predicted[rows], 3).scores() for rows in drawn]
    _, bounds = class_scores.intervals(labels, predicted)
    assert bounds == pytest.approx(np.percentile(resampled, [2.5, 97.5], axis=0).T, abs=0.004)


def test_a_perfect_model_with_one_example_per_class_is_neither_condemned_nor_certain():
    everyone = np.arange(20)
    for value, (low, high) in zip(*class_scores.intervals(everyone, everyone), strict=True):
        assert value == high == 1
        assert 0.6 < low < 0.9


@pytest.mark.parametrize("n", [100, 600, 1500, 2000, 3000, 5000])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_the_interval_of_a_perfect_model_is_about_that_of_its_accuracy(n: int, classes: int):
    labels = np.arange(n) % classes
    values, bounds = class_scores.intervals(labels, labels)
    assert values[:2].tolist() == [1, 1] and bounds[:, 1].tolist() == [1, 1, 1]
    lows = bounds[:2, 0].tolist() if classes == 1 else [*bounds[:2, 0], (bounds[2, 0] + 1) / 2]
    assert all(1 - 25 / n < low < 1 - 3 / n for low in lows)
    assert classes > 1 or bounds[2].tolist() == [-1, 1]


@pytest.mark.parametrize("n", [300, 3000, 5000])
def test_a_model_that_confuses_classes_without_exception_is_not_certain_either(n: int):
    labels = np.arange(n) % 3
    values, bounds = class_scores.intervals(labels, (labels + 1) % 3)
    assert values.tolist() == pytest.approx([0, 0, -0.5])
    assert all(1 / n < high < 25 / n for high in bounds[:2, 1]) and bounds[2, 1] - bounds[2, 0] > 1 / n


def test_a_class_is_never_lost_in_a_resample():
    labels = np.array([0] * 50 + [1])
    mixed = class_scores._Mixed(labels, labels, Counts.of(labels, labels, 2))
    assert all((some.labels == [50, 1]).all() for some in mixed.resamples())


def test_resamples_have_the_expected_counts():
    labels, predicted = predictions(40, 4, 0.6)
    mixed = class_scores._Mixed(labels, predicted, Counts.of(labels, predicted, 4))
    resamples = list(mixed.resamples())
    for field in ("predicted", "both"):
        drawn = np.concatenate([getattr(some, field) for some in resamples])
        error = drawn.std(0) / np.sqrt(len(drawn))
        assert (np.abs(drawn.mean(0) - getattr(mixed.expected(), field)) < 4 * error).all()


def test_memory_is_linear_in_classes_and_examples(monkeypatch: pytest.MonkeyPatch):
    """One confusion matrix would take 128 MB."""
    monkeypatch.setattr(class_scores, "CHUNK", 10_000)
    monkeypatch.setattr(class_scores, "RESAMPLES", 4)
    labels, predicted = predictions(8000, 4000, 0.9)
    tracemalloc.start()
    try:
        class_scores.intervals(labels, predicted)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()
