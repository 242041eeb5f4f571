import numpy as np
import pytest

from darkroom.evaluate import fairness


def test_newcombes_interval_of_his_paper():
    assert fairness.newcombe((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert fairness.newcombe((9, 10), (3, 10)) == pytest.approx((0.1705, 0.8090), abs=5e-5)


def test_rates_of_each_slice_and_their_difference_from_the_others():
    risk = np.array([0.9, 0.1, 0.9, 0.1, 0.1, 0.1])
    is_positive = np.array([True, True, False, False, False, True])
    slices = {"sex": np.array(["m", "m", "m", "f", "f", ""], dtype=object)}
    table = fairness.table(slices, risk, is_positive, 0.5).set_index(["value", "rate"])
    assert table.loc[("m", "approved"), ["of", "fraction", "difference"]].tolist() == pytest.approx([3, 1 / 3, -2 / 3])
    assert table.loc[("m", "refused_negative"), ["of", "fraction"]].tolist() == [1, 1]
    assert table.loc[("m", "approved_positive"), ["of", "fraction"]].tolist() == [2, 0.5]
    assert np.isnan(table.loc[("m", "approved_positive"), "difference"])  # no f is positive
    assert ("", "approved") not in table.index


def test_equal_groups_differ_by_nothing():
    random = np.random.default_rng(0)
    risk, is_positive = random.random(4000), random.random(4000) < 0.3
    slices = {"a": np.array(["x", "y"] * 2000, dtype=object)}
    table = fairness.table(slices, risk, is_positive, 0.5)
    assert ((table["difference_low"] < 0) & (table["difference_high"] > 0)).all()
