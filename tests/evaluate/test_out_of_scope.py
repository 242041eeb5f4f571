import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from darkroom.evaluate import out_of_scope

KNOWN = np.array([[4.0, 0.0], [0.0, 3.0], [2.0, 0.0], [5.0, 1.0]])


def test_examples_that_are_told_apart():
    found = out_of_scope.table(KNOWN, np.array([[0.0, 0.0], [0.1, 0.0]]), 1.0)
    assert found["score"].tolist() == ["confidence", "max_logit", "energy"]
    assert found["auroc"].tolist() == [1.0] * 3 and found["recall"].tolist() == [1.0] * 3
    summary = out_of_scope.summary(found, 2)
    assert summary["out_of_scope_auroc"] == 1.0 and summary["out_of_scope_samples"] == 2
    assert "out_of_scope_limit" not in summary


def test_ties_count_half():
    found = out_of_scope.table(KNOWN, KNOWN, 1.0)
    assert found["auroc"].tolist() == [0.5] * 3 and found["recall"].tolist() == [0.0] * 3


def test_at_most_the_allowed_fraction_of_test_examples_is_below_the_limit():
    random = np.random.default_rng(0)
    known, others = random.normal(1, 1, (203, 3)), random.normal(0, 1, (50, 3))
    found = out_of_scope.table(known, others, 1.0).set_index("score").loc["max_logit"]
    below = (known.max(1) < found["limit"]).mean()
    assert out_of_scope.FALSE_ALARMS - 1 / 203 < below <= out_of_scope.FALSE_ALARMS
    assert found["recall"] == (others.max(1) < found["limit"]).mean()


logits = st.lists(st.lists(st.integers(-5, 5), min_size=3, max_size=3), min_size=1, max_size=8)


@given(logits, logits)
def test_the_area_is_that_of_scikit_learn(known: list[list[int]], others: list[list[int]]):
    found = out_of_scope.table(np.array(known), np.array(others), 1.0).set_index("score").loc["max_logit"]
    scores = np.concatenate([np.max(known, 1), np.max(others, 1)])
    labels = np.repeat([1, 0], [len(known), len(others)])
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert 0 <= found["auroc_low"] <= found["auroc"] <= found["auroc_high"] <= 1
    assert 0 <= found["recall_low"] <= found["recall"] <= found["recall_high"] <= 1
