"""Figures of a search: history, slices, importances, and what is measured against costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from darkroom.figures.drawing import CORRECT, INCORRECT, INK, shorten
from darkroom.search.measure import NAMED, Measure
from darkroom.search.results import COSTS, estimate, pareto

GREY = "#999999"
_COLUMNS, _MOST = 3, 24  # panels per row, and parameters shown


def draw(found: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures of the numbers of `results.collect` by name; those without data are left out."""
    rows, measure = [row for row in found["rows"] if row["score"] is not None], NAMED[found["measure"]]
    figures = {}
    if rows:
        figures["history"] = history(rows, measure)
        shown = {row["parameter"]: row["log"] for row in found["importances"][:_MOST]}
        figures["slices"] = slices(rows, shown, measure)
    if measured := [row for row in found["importances"] if row["importance"] is not None]:
        figures["importances"] = importances(measured, measure)
    costs = [cost for cost in COSTS if len(pareto(rows, cost)) > 1]
    if found["cost"] != "none" and costs:
        figures["costs"] = against_costs(rows, costs, found["knees"], measure)
    return figures


def history(rows: Sequence[Mapping[str, Any]], measure: Measure) -> Figure:
    """What is measured by trial, and the best complete one so far."""
    figure = Figure(figsize=(8, 3.2), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel="trial", ylabel=measure.name)
    _points(axes, rows, [row["trial"] for row in rows], measure, labelled=True)
    complete = [row for row in rows if row["state"] == "complete"]
    best = np.maximum.accumulate([row["score"] for row in complete]).tolist()
    if complete:
        numbers = [*(row["trial"] for row in complete), rows[-1]["trial"]]
        reached = [measure.value(score) for score in (*best, best[-1])]
        axes.step(numbers, reached, where="post", color=INK, linewidth=1, label="best so far")
    axes.legend(frameon=False, fontsize=8)
    return figure


def slices(rows: Sequence[Mapping[str, Any]], names: Mapping[str, bool], measure: Measure) -> Figure:
    """One panel per parameter: what is measured by its value; `names` says whether its axis is logarithmic."""
    height = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(9, 2.6 * height), dpi=100, layout="constrained")
    panels = figure.subplots(height, _COLUMNS, squeeze=False, sharey=True).flat
    for name, axes in zip(names, panels, strict=False):  # names first: zip takes one of the first too many
        active = [row for row in rows if name in row["sample"]]
        values = [row["sample"][name] for row in active]
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if numeric:
            _points(axes, active, values, measure)
            if names[name]:
                axes.set_xscale("log")
                axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            shown = list(dict.fromkeys(map(str, values)))
            _points(axes, active, [shown.index(str(value)) for value in values], measure)
            axes.set_xticks(range(len(shown)), [shorten(text, 14) for text in shown])
            axes.set_xlim(-0.5, len(shown) - 0.5)
        axes.set_xlabel(name, fontsize=8)
        axes.tick_params(labelsize=7)
    for axes in list(panels):
        axes.set_visible(False)
    figure.supylabel(measure.name, fontsize=9)
    return figure


def importances(rows: Sequence[Mapping[str, Any]], measure: Measure) -> Figure:
    """Bars of the importances; the line marks what shuffled results reach."""
    figure = Figure(figsize=(8, 0.8 + 0.32 * len(rows)), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel=f"fraction of the variance of the {measure.name} (fANOVA)")
    names = [row["parameter"] for row in rows]
    colours = [CORRECT if row["matters"] else GREY for row in rows]
    axes.barh(names, [row["importance"] for row in rows], color=colours, height=0.6)
    for index, row in enumerate(rows):
        label = "reached by shuffled results" if not index else None
        axes.plot([row["chance"]] * 2, [index - 0.4, index + 0.4], color=INCORRECT, label=label)
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def against_costs(
    rows: Sequence[Mapping[str, Any]], costs: Sequence[str], knees: Mapping[str, int | None], measure: Measure
) -> Figure:
    """One panel per cost: what is measured with 95 % intervals, if known, the Pareto front, and its knee."""
    figure = Figure(figsize=(9, 3.4 * -(-len(costs) // 2)), dpi=100, layout="constrained")
    panels = figure.subplots(-(-len(costs) // 2), 2, squeeze=False).flat
    for cost, axes in zip(costs, panels, strict=False):
        measured = [row for row in rows if row.get(cost) and "estimate" in row]
        heights = [measure.value(estimate(row, cost)) for row in measured]
        bars = [
            [row["estimate"] - row["low"] for row in measured],
            [row["high"] - row["estimate"] for row in measured],
        ][:: 1 if measure.is_fraction else -1]  # the upper end of a score is the lower one of a loss
        axes.errorbar([row[cost] for row in measured], heights, bars, fmt="o", color=GREY, markersize=3, linewidth=1)
        front = pareto(rows, cost)
        reached = [measure.value(estimate(row, cost)) for row in front]
        axes.plot([row[cost] for row in front], reached, "o-", color=CORRECT, markersize=4)
        for row in front:
            if row["trial"] == knees.get(cost):
                place = (row[cost], measure.value(estimate(row, cost)))
                axes.plot(*place, "o", color=INCORRECT, markersize=8)
                text = f"knee: trial {row['trial']}"
                axes.annotate(text, place, (8, -14), textcoords="offset points", color=INCORRECT, fontsize=9)
        axes.set(xscale="log", xlabel=COSTS[cost])
        ticks = np.geomspace(*axes.get_xlim(), 6)[1:-1]
        axes.set_xticks(ticks, [_short(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_ylabel("accuracy of the int8 model" if cost == "latency_int8_ms" else measure.name)
    for axes in list(panels):
        axes.set_visible(False)
    return figure


def _short(value: float) -> str:
    """A cost in few characters: 0.039, 61.0k, 4.5M."""
    return EngFormatter(places=1, sep="")(value) if value >= 1000 else f"{value:.2g}"


def _points(
    axes: Axes, rows: Sequence[Mapping[str, Any]], places: Sequence[float], measure: Measure, labelled: bool = False
) -> None:
    """Complete trials filled, pruned ones hollow."""
    kinds = {
        "complete": {"color": CORRECT},
        "pruned": {"facecolors": "none", "edgecolors": GREY},
        "fail": {"color": INCORRECT, "marker": "x"},
    }
    for state, style in kinds.items():
        chosen = [
            (place, measure.value(row["score"]))
            for place, row in zip(places, rows, strict=True)
            if row["state"] == state
        ]
        if chosen:
            label = {"complete": "complete", "pruned": "pruned: the last one", "fail": "failed"}[state]
            axes.scatter(*zip(*chosen, strict=True), s=16, label=label if labelled else None, **style)
