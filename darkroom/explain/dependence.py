"""How a network uses the columns of a table over all rows: permutation importance and partial dependence.

Breiman, "Random forests", 2001; Friedman, "Greedy function approximation: a gradient boosting machine", 2001.
"""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from darkroom.columns.schema import FIRST, Schema
from darkroom.core.arrays import Split
from darkroom.core.randomness import numpy_generator
from darkroom.models.inference import predict, probabilities
from darkroom.statistics.intervals import mean_interval

ROWS, PARTIAL_ROWS = 2000, 300  # test rows that are measured
POINTS, SHOWN = 20, 6  # values of a column, and columns that are drawn


def importance(network: nn.Module, test: Split, schema: Schema) -> pd.DataFrame:
    """One row per column, the most important first: column, loss_increase, low and high (95 % interval).

    How much the loss of random test rows rises if the column has the values of other rows. Columns that say the same
    share their importance: each alone may seem unimportant.
    """
    chosen = numpy_generator(0, "importance").permutation(len(test))[:ROWS]
    rows, labels = np.array(test.inputs[np.sort(chosen)]), np.asarray(test.labels)[np.sort(chosen)]

    def losses(given: np.ndarray) -> np.ndarray:
        found = probabilities(predict(network, given, (), ()))[np.arange(len(labels)), labels]
        return -np.log(np.maximum(found, 1e-12))

    before, table = losses(rows), []
    for index, column in enumerate(schema.columns):
        changed = rows.copy()
        changed[:, index] = numpy_generator(0, "importance", column.name).permutation(rows[:, index])
        increase = losses(changed) - before
        table.append((column.name, increase.mean(), *mean_interval(increase)))
    found = pd.DataFrame(table, columns=["column", "loss_increase", "low", "high"])
    return found.sort_values("loss_increase", ascending=False, kind="stable", ignore_index=True)


def partial(network: nn.Module, inputs: np.ndarray, schema: Schema, columns: Sequence[str], label: int) -> pd.DataFrame:
    """One row per column and value: column, value, probability: the mean over random rows if all had this value.

    Values are all numbers of a column if they are at most POINTS, else quantiles without the 1 % at both ends, or the
    most frequent categories.
    """
    chosen = np.sort(numpy_generator(0, "partial dependence").permutation(len(inputs))[:PARTIAL_ROWS])
    rows, table = np.array(inputs[chosen]), []
    for name in columns:
        index = schema.names.index(name)
        column, own = schema.columns[index], np.array(inputs[:, index])
        if column.kind == "category":
            counts = np.bincount(own.astype(np.int64), minlength=column.size)[FIRST:]
            values = FIRST + np.sort(np.argsort(-counts, kind="stable")[:POINTS])
        else:
            held = own[~np.isnan(own)]
            values = np.unique(held)
            if len(values) > POINTS:
                values = np.unique(np.quantile(held, np.linspace(0.01, 0.99, POINTS), method="nearest"))
        for value in values:
            changed = rows.copy()
            changed[:, index] = value
            mean = probabilities(predict(network, changed, (), ()))[:, label].mean()
            table.append((name, column.text(float(value)), mean))
    return pd.DataFrame(table, columns=["column", "value", "probability"])


def draw(curves: pd.DataFrame, title: str, categories: Collection[str] = ()) -> Figure:
    """The curves of `partial`, one panel per column; values of the columns `categories` are names, also if numbers."""
    names = curves["column"].drop_duplicates().tolist()
    across = max(1, min(3, len(names)))
    down = max(1, -(-len(names) // across))
    figure = Figure(figsize=(4 * across, 0.6 + 2.6 * down), layout="constrained")
    figure.suptitle(title, fontsize=11, parse_math=False)
    axes = figure.subplots(down, across, squeeze=False, sharey=True)
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    for panel, name in zip(axes.flat, names, strict=False):
        own = curves[curves["column"] == name]
        numbers = pd.to_numeric(own["value"], errors="coerce")
        days = pd.to_datetime(own["value"], format="%Y-%m-%d", errors="coerce")
        values = numbers if numbers.notna().all() else days
        if name not in categories and values.notna().all():
            panel.plot(values, own["probability"], marker=".", color="#3b6ea5")
            if values is days:
                panel.tick_params("x", rotation=60, labelsize=7)
            else:
                panel.locator_params("x", nbins=5)  # so that long numbers do not overlap
        else:
            places = np.arange(len(own))
            panel.plot(places, own["probability"], "o", color="#3b6ea5")
            panel.set_xticks(places, own["value"].str.slice(0, 12), rotation=60, fontsize=7, parse_math=False)
        panel.set_title(name[:40], fontsize=10, parse_math=False)
    return figure
