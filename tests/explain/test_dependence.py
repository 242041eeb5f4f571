import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from darkroom.columns.schema import Column, Schema
from darkroom.core.arrays import Split
from darkroom.explain import dependence

SCHEMA = Schema(
    "y", "1", (Column("x", "number"), Column("unused", "number"), Column("job", "category", categories=("a", "b")))
)


class Risk(nn.Module):
    """The log-odds of the second class: the first column, and 2 for the category b."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        odds = rows[:, 0] + self.weight * (rows[:, 2] == 3)
        return torch.stack([torch.zeros_like(odds), odds], 1)


def split(n: int = 3000) -> Split:
    random = np.random.default_rng(0)
    rows = np.stack([random.normal(size=n), random.normal(size=n), random.integers(2, 4, n)], 1).astype(np.float32)
    odds = rows[:, 0] + 2 * (rows[:, 2] == 3)
    labels = (random.random(n) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    return Split(rows, labels, np.arange(n).astype(str))


def test_a_column_that_the_network_does_not_use_has_no_importance():
    found = dependence.importance(Risk(), split(), SCHEMA).set_index("column")
    assert found.loc["unused", "loss_increase"] == 0 and found.index[-1] == "unused"
    assert (found.loc[["x", "job"], "low"] > 0).all()


def test_partial_dependence_is_the_mean_probability_at_each_value():
    curves = dependence.partial(Risk(), split().inputs, SCHEMA, ["job", "x"], 1)
    job = curves[curves["column"] == "job"].set_index("value")["probability"]
    assert list(job.index) == ["a", "b"] and job["b"] > job["a"] + 0.2
    x = curves[curves["column"] == "x"]
    assert x["probability"].is_monotonic_increasing and len(x) == dependence.POINTS


@pytest.mark.parametrize("levels", [2, dependence.POINTS])
def test_a_rare_level_of_few_numbers_has_its_point(levels: int):
    rows = split(1000).inputs.copy()
    rows[:, 0] = 0
    rows[:levels, 0] = np.arange(levels)
    curves = dependence.partial(Risk(), rows, SCHEMA, ["x"], 1)
    assert curves["value"].astype(float).tolist() == list(range(levels))


def test_the_rarest_of_many_numbers_have_no_point():
    curves = dependence.partial(Risk(), split().inputs, SCHEMA, ["x"], 1)
    assert curves["value"].astype(float).abs().max() < 3 < np.abs(split().inputs[:, 0]).max()


def test_the_curves_are_drawn_for_numbers_and_categories():
    figure = dependence.draw(dependence.partial(Risk(), split().inputs, SCHEMA, ["job", "x"], 1), "$title")
    assert [axes.get_title() for axes in figure.axes] == ["job", "x"]


def test_categories_of_digits_are_no_numbers():
    curves = pd.DataFrame({"column": "month", "value": ["1", "10", "2"], "probability": 0.5})
    panel = dependence.draw(curves, "", {"month"}).axes[0]
    assert panel.lines[0].get_linestyle() == "None" and panel.lines[0].get_xdata().tolist() == [0, 1, 2]
    assert dependence.draw(curves, "").axes[0].lines[0].get_xdata().tolist() == [1, 10, 2]


def test_dates_are_drawn_by_their_distance():
    days = ["2020-01-01", "2020-01-02", "2021-01-01"]
    figure = dependence.draw(pd.DataFrame({"column": "since", "value": days, "probability": 0.5}), "")
    low, middle, high = figure.axes[0].lines[0].get_xdata()
    assert (high - low) / (middle - low) == 366


def test_a_column_that_is_always_missing_has_no_curve():
    rows = split(50).inputs.copy()
    rows[:, 0] = np.nan
    curves = dependence.partial(Risk(), rows, SCHEMA, ["x"], 1)
    assert len(curves) == 0 and dependence.draw(curves, "title").axes  # nothing else is there to draw


def test_the_result_is_repeatable():
    one, other = (dependence.importance(Risk(), split(), SCHEMA) for _ in range(2))
    assert one.equals(other)
