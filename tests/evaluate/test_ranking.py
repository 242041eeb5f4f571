import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import average_precision_score, roc_auc_score

from darkroom.evaluate import ranking


def found(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return ranking.summary(logits, labels, ranking.log_normaliser(logits))


@pytest.mark.parametrize("repeats", [1, 3])  # 3: each score occurs three times, with different labels
def test_areas_are_those_of_scikit_learn(repeats: int):
    random = np.random.default_rng(0)
    logits = np.repeat(random.normal(size=(100, 4)).astype(np.float32), repeats, axis=0)
    labels = random.integers(4, size=len(logits))
    probabilities = softmax(logits.astype(np.float64), axis=1)
    assert found(logits, labels) == {
        "roc_auc": pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr")),
        "average_precision": pytest.approx(average_precision_score(np.eye(4)[labels], probabilities)),
    }


def test_classes_without_examples_are_left_out():
    logits = np.array([[2, 1, 0], [1, 2, 0], [2, 0, 1]], np.float32)
    assert found(logits, np.array([0, 1, 0])) == {"roc_auc": 1, "average_precision": 1}
    assert found(logits, np.array([0, 0, 0])) == {}
