import numpy as np
import pandas as pd
import pytest

from darkroom.review import breakdown, significance


def subsets(**counts: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names and correctness of subsets of 100 examples: both wrong, fixed and broken; the rest is correct on both."""
    names, old, new = [], [], []
    for name, (neither, fixed, broken) in counts.items():
        names += [name] * 100
        both = 100 - neither - fixed - broken
        old += np.repeat([False, False, True, True], [neither, fixed, broken, both]).tolist()
        new += np.repeat([False, True, False, True], [neither, fixed, broken, both]).tolist()
    return np.array(names), np.array(old), np.array(new)


def test_by_hand():
    table = breakdown.by(*subsets(b=(0, 2, 42), a=(4, 3, 3)))
    assert table["value"].tolist() == ["a", "b"] and table["examples"].tolist() == [100, 100]
    row = table.loc[1]
    assert (row["old"], row["new"], row["difference"]) == pytest.approx((0.98, 0.58, -0.4))
    assert row["p"] < 0.05 < table.loc[0, "p"]
    assert row["low"] < -0.4 < row["high"] < 0
    assert breakdown.significant(table, better=False)["value"].tolist() == ["b"]
    assert breakdown.significant(table, better=True).empty


def test_without_a_retraining_it_is_mcnemars_test_adjusted_for_the_number_of_subsets():
    names, old, new = subsets(a=(0, 0, 8), b=(0, 5, 5))
    alone = significance.accuracy(old[:100], new[:100])
    found = breakdown.by(names, old, new, retrained=False).loc[0]
    assert found["p"] == pytest.approx(2 * alone.p)
    assert (found["low"], found["high"]) == pytest.approx((alone.low, alone.high))


def test_a_retraining_widens_what_counts_as_chance():
    """A class with many errors varies more from training to training."""
    names, old, new = subsets(a=(40, 5, 20))
    one, other = (breakdown.by(names, old, new, retrained=retrained).loc[0] for retrained in (False, True))
    assert one["p"] < 0.05 < other["p"] and other["low"] < one["low"]


def test_groups_are_the_units():
    """The 8 broken examples are those of one patient."""
    names, old, new = subsets(a=(0, 0, 8), b=(0, 0, 0))
    groups = np.repeat(np.arange(25), 8).astype(str)
    groups[:100] = np.where(np.arange(100) < 8, "patient", np.arange(100).astype(str))
    assert breakdown.by(names, old, new, retrained=False).loc[0, "p"] < 0.05
    assert breakdown.by(names, old, new, groups, retrained=False).loc[0, "p"] > 0.05


def test_many_classes():
    random = np.random.default_rng(0)
    names = np.arange(20_000) % 4000
    old, new = random.random((2, 20_000)) < 0.9
    table = breakdown.by(names, old, new)
    assert len(table) == 4000 and np.isfinite(table.drop(columns="value").to_numpy(float)).all()


def test_slices_are_adjusted_within_each_column_and_empty_cells_belong_to_none():
    names, old, new = subsets(day=(0, 0, 40), night=(5, 5, 5))
    columns = pd.DataFrame({"light": names, "camera": np.where(names == "day", "one", ""), "id": np.arange(200)})
    table = breakdown.slices(columns.astype(str), old, new, None, retrained=True)
    assert list(zip(table["column"], table["value"], table["examples"], strict=True))[:3] == [
        ("light", "day", 100),
        ("light", "night", 100),
        ("camera", "one", 100),
    ]
    day, one = table.loc[0, "p"], table.loc[2, "p"]
    assert day == pytest.approx(2 * one)
    assert breakdown.slices(columns[[]], old, new, None, retrained=True).empty


def test_corruptions_are_compared_over_shared_severities():
    def measured(*rows: tuple[str, str, float]) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=["corruption", "severity", "accuracy"])

    old = measured(("fog", "1", 0.5), ("fog", "3", 0.4), ("snow", "1", 0.25))
    new = measured(("fog", "1", 0.75), ("fog", "3", 0.55), ("fog", "5", 0.1))
    (row,) = breakdown.corruptions(old, new).to_dict("records")
    assert (row["old"], row["new"]) == (pytest.approx(0.45), pytest.approx(0.65))
    assert (row["corruption"], row["severities"], row["score"]) == ("fog", "1, 3", "accuracy")
    assert breakdown.unshared(old, new) == ["snow 1", "fog 5"]
    assert breakdown.unshared(old, old) == []


def test_corruptions_are_compared_by_the_last_score_that_both_sides_have():
    old = pd.DataFrame({"corruption": ["missing"], "severity": ["1"], "accuracy": [0.9], "roc_auc": [0.7]})
    assert breakdown.corruptions(old, old.assign(roc_auc=0.75))[["score", "old", "new"]].values.tolist() == [
        ["roc_auc", 0.7, 0.75]
    ]
    only_accuracy = breakdown.corruptions(old, old.assign(accuracy=0.8).drop(columns="roc_auc"))
    assert only_accuracy[["score", "old", "new"]].values.tolist() == [["accuracy", 0.9, 0.8]]
