"""Figures that stay readable with a hundred classes: the most frequent confusions, and the most difficult classes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from darkroom.core.spelling import confusion, counted
from darkroom.figures.drawing import CORRECT, INCORRECT, INK, shorten

LIMIT = 30  # rows of a figure
_WIDTH, _ROW, _HEADER, _FOOTER = 10.0, 0.26, 0.75, 0.55  # inches
_NAMES = 0.45  # fraction of the width for the names
_MAX_NAME = 26  # characters of one of two class names in a row, about


def confused_pairs(table: pd.DataFrame) -> Figure:
    """The first LIMIT rows of the table of `metrics.confused_pairs` as bars: how often, and of how many."""
    rows = table.head(LIMIT)
    more = f": the {len(rows)} most frequent" if len(table) > len(rows) else ""
    title = f"Confused classes{more}" if len(rows) else "No confused classes"
    names = [confusion(shorten(row.label, _MAX_NAME), shorten(row.predicted, _MAX_NAME)) for row in rows.itertuples()]
    figure, axes = _rows(names, title, "label → predicted class, and the fraction of the label's test examples")
    count = rows["count"].to_numpy()
    axes.barh(np.arange(len(rows)), count, height=0.7, color=INCORRECT)
    axes.set_xlim(0, max(1, *count) * 1.15 if len(rows) else 1)
    for row, (number, fraction) in enumerate(zip(count.tolist(), rows["fraction"].tolist(), strict=True)):
        axes.text(number, row, f" {number} ({fraction:.0%})", va="center", size=8, color=INK)
    axes.set_xlabel("test examples", size=9)
    return figure


def most_difficult(table: pd.DataFrame) -> Figure:
    """The LIMIT classes with the lowest F1 in the table of `metrics.per_class`: recall and precision with intervals."""
    tested = table.dropna(subset=["f1"]).sort_values("f1", kind="stable")
    rows = tested.head(LIMIT)
    title = f"The {len(rows)} most difficult of {counted(len(table), 'class')}, lowest F1 first"
    names = [shorten(name, 2 * _MAX_NAME) for name in rows["class"]]
    figure, axes = _rows(names, title, "recall and precision on the test set, with 95 % confidence intervals")
    for name, colour, marker, offset in (("recall", CORRECT, "o", -0.15), ("precision", INCORRECT, "s", 0.15)):
        value, low, high = (rows[f"{name}{bound}"].to_numpy() for bound in ("", "_low", "_high"))
        place, errors = np.arange(len(rows)) + offset, [np.maximum(0, value - low), np.maximum(0, high - value)]
        axes.errorbar(value, place, xerr=errors, fmt=marker, ms=4, lw=1, color=colour, label=name)
    axes.set_xlim(0, 1.02)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def _rows(names: Sequence[str], title: str, legend: str) -> tuple[Figure, Axes]:
    """A figure with a row for each of the names, from top to bottom at 0, 1, ..."""
    height = max(1, len(names)) * _ROW + _HEADER + _FOOTER
    figure = Figure(figsize=(_WIDTH, height), dpi=100)
    figure.text(0.02, 1 - 0.15 / height, title, size=12, weight="bold", color=INK, va="top", parse_math=False)
    figure.text(0.02, 1 - 0.42 / height, legend, size=9, color=INK, va="top")
    axes = figure.add_axes((_NAMES, _FOOTER / height, 0.97 - _NAMES, 1 - (_HEADER + _FOOTER) / height))
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    for row, name in enumerate(names):  # texts, not tick labels: `figures.fonts` completes the fonts of texts
        where = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center"}
        axes.text(-0.01, row, name, size=8, color=INK, parse_math=False, **where)
    return figure, axes
