import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from darkroom.evaluate import risk
from darkroom.evaluate.config import CostConfig

COST = CostConfig(missed=4.0, refused=1.0)


def examples(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    probability = random.random(n).round(2)  # with ties
    return probability, random.random(n) < probability


def test_the_measures_are_those_of_scikit_learn_and_scipy():
    probability, is_positive = examples()
    found = risk.summary(probability, is_positive, COST)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(is_positive, probability))
    assert found["gini"] == pytest.approx(2 * found["roc_auc"] - 1)
    assert found["pr_auc"] == pytest.approx(average_precision_score(is_positive, probability))
    assert found["brier"] == pytest.approx(brier_score_loss(is_positive, probability))
    expected = ks_2samp(probability[is_positive], probability[~is_positive]).statistic
    assert found["ks"] == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
def test_the_measures_of_few_examples_with_ties(pairs: list[tuple[int, bool]]):
    pairs = [*pairs, (1, True), (2, False)]
    probability, is_positive = np.array([one / 4 for one, _ in pairs]), np.array([of for _, of in pairs])
    found = risk.summary(probability, is_positive, COST)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(is_positive, probability))
    assert found["pr_auc"] == pytest.approx(average_precision_score(is_positive, probability))
    wrong, right, _ = roc_curve(is_positive, probability, drop_intermediate=False)
    assert found["ks"] == pytest.approx(np.abs(right - wrong).max())
    if min(is_positive.sum(), (~is_positive).sum()) == 1:
        assert "roc_auc_low" not in found
    else:
        names = ("roc_auc", "pr_auc", "ks", "brier", "cost")
        assert all(found[f"{name}_low"] <= found[f"{name}_high"] for name in names)


def test_intervals_hold_the_measures():
    found = risk.summary(*examples(), COST)
    for name in ("roc_auc", "gini", "pr_auc", "ks", "brier", "cost"):
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]


@pytest.mark.parametrize("groups", [("site", "site"), ("one", "other"), ("", "other")])
def test_no_interval_is_known_if_a_class_lies_in_one_group(groups: tuple[str, str]):
    probability, is_positive = examples(50)
    found = risk.summary(probability, is_positive, COST, np.where(is_positive, *groups))
    assert found["roc_auc"] == risk.summary(probability, is_positive, COST)["roc_auc"]
    assert not [name for name in found if name.endswith(("_low", "_high"))]
    assert f"ROC AUC {found['roc_auc']:.4f}, KS" in risk.line(found)


def test_copies_of_examples_in_groups_leave_the_interval_as_it_is():
    probability, is_positive = examples(200)
    alone = risk.summary(probability, is_positive, COST)
    groups = np.tile([f"g{number}" for number in range(200)], 3)
    copied = risk.summary(np.tile(probability, 3), np.tile(is_positive, 3), COST, groups)
    blank = risk.summary(probability, is_positive, COST, np.full(200, ""))
    for bound in ("roc_auc_low", "roc_auc_high"):
        assert copied[bound] == pytest.approx(alone[bound], abs=0.02)
        assert blank[bound] == pytest.approx(alone[bound], abs=0.02)


def test_the_cost_of_decisions():
    found = risk.summary(np.array([0.1, 0.1, 0.2, 0.9]), np.array([True, False, False, True]), COST)
    assert risk.threshold(COST) == pytest.approx(0.2)
    assert found["cost"] == pytest.approx((4 + 1) / 4)  # one missed, one refused without reason
    assert (found["cost_refuse_none"], found["cost_refuse_all"]) == (2.0, 0.5)
    assert (found["refused_rate"], found["refused_precision"], found["refused_recall"]) == (0.5, 0.5, 0.5)


def test_a_calibrated_risk_is_cheapest_at_the_threshold():
    random = np.random.default_rng(1)
    probability = random.random(100_000)
    is_positive, limit = random.random(100_000) < probability, risk.threshold(COST)

    def cost(at: float) -> float:
        refused = probability >= at
        return (4 * (is_positive & ~refused) + (~is_positive & refused)).mean()

    assert cost(limit) < min(cost(limit - 0.05), cost(limit + 0.05))


def test_deciles():
    random = np.random.default_rng(0)
    probability = random.random(1000)
    is_positive = random.random(1000) < probability
    table = risk.deciles(probability, is_positive)
    assert table["examples"].tolist() == [100] * 10 and table["risk"].is_monotonic_increasing
    assert (table["rate"] * 100).sum() == pytest.approx(is_positive.sum())
    assert ((table["low"] <= table["rate"]) & (table["rate"] <= table["high"])).all()


def test_equal_risks_share_a_row_in_any_order():
    is_positive = np.arange(100) < 20  # sorted by class, as many files are
    table = risk.deciles(np.full(100, 0.2), is_positive)
    assert table[["examples", "rate"]].values.tolist() == [[100, 0.2]]
    probability, is_positive = examples(1000)
    order = np.random.default_rng(0).permutation(1000)
    pd.testing.assert_frame_equal(
        risk.deciles(probability, is_positive), risk.deciles(probability[order], is_positive[order])
    )


def test_without_a_positive_class_or_examples_of_it_nothing_is_said():
    probabilities, labels = np.full((3, 2), 0.5), np.array([0, 0, 0])
    assert risk.measure(probabilities, labels, None, COST, {}) == risk.Risks()
    assert risk.measure(probabilities, labels, 1, COST, {}).summary == {}


def test_slices_are_compared_only_if_there_are_some():
    probability, is_positive = examples()
    probabilities = np.stack([1 - probability, probability], 1)
    given = probabilities, is_positive.astype(int), 1, COST
    assert set(risk.measure(*given, {}).tables) == {"risk_deciles.csv"}
    sliced = {"sex": np.array(["a", "b"] * 200, dtype=object)}
    assert set(risk.measure(*given, sliced).tables) == {"risk_deciles.csv", "fairness.csv"}
