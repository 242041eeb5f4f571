"""Figures of rankings of items: by the length of the list, by slices of histories, by the popularity of items."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from darkroom.core.spelling import counted
from darkroom.evaluate.item_tables import NETWORK
from darkroom.figures.drawing import CORRECT, INCORRECT, INK, shorten
from darkroom.recommend import ranking
from darkroom.recommend.ranking import SHOWN, TOP, Ranking

STYLES = {  # colour, line and marker of each recommender, distinct in grey too
    NETWORK: (CORRECT, "-", "o"),
    "ease": (INCORRECT, "--", "s"),
    "item_knn": ("#009E73", "-.", "^"),
    "popularity": ("#999999", ":", "D"),
}
TITLES = {NETWORK: "network", "ease": "EASE", "item_knn": "item-kNN", "popularity": "popularity"}
COLUMNS = {"history_length": "items that a user had:", "popularity": "training events of the next item:"}
MAX_SLICES = 24  # rows of the figure


def by_k(rankings: Mapping[str, Ranking]) -> Figure:
    """HR@k and NDCG@k of the recommenders for k up to TOP."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    histories = counted(len(next(iter(rankings.values()))), "test history")
    figure.suptitle(f"The next item among the first k of all items, {histories}", size=12, weight="bold", color=INK)
    ks = np.arange(1, TOP + 1)
    for axes, name, measure in zip(
        figure.subplots(1, 2), ("HR@k", "NDCG@k"), (ranking.hits, ranking.gains), strict=True
    ):
        for recommender, (colour, line, marker) in STYLES.items():
            means = [measure(rankings[recommender].ranks, k).mean() for k in ks.tolist()]
            axes.plot(ks, means, line, color=colour, marker=marker, ms=3.5, label=TITLES[recommender])
        _plain(axes)
        axes.set(xlabel="k", ylabel=name, xlim=(0.5, TOP + 0.5), ylim=(0, None), xticks=(1, 5, 10, 15, 20))
    axes.legend(frameon=False, fontsize=9)
    return figure


def by_slice(table: pd.DataFrame, best: str) -> Figure:
    """HR@10 with its interval by slice, beside the best baseline; `table` is that of `item_tables.slices`."""
    rows = table.head(MAX_SLICES)
    name = f"hr_at_{SHOWN}"
    places = np.arange(len(rows)) + rows["column"].ne(rows["column"].shift()).cumsum().to_numpy() - 1
    figure = Figure(figsize=(9, 1.2 + 0.3 * (places[-1] + 1)), layout="constrained")
    more = "" if len(rows) == len(table) else f", the first {len(rows)} of {len(table)} slices"
    figure.suptitle(f"HR@{SHOWN} by slice{more}, with 95 % intervals", size=12, weight="bold", color=INK)
    axes = figure.subplots()
    value, low, high = (rows[f"{name}{bound}"].to_numpy() for bound in ("", "_low", "_high"))
    errors = [np.maximum(0, value - low), np.maximum(0, high - value)]
    style = {"ms": 5, "clip_on": False}  # a marker at 0 is whole
    axes.errorbar(value, places, xerr=errors, fmt="o", lw=1.2, color=CORRECT, label=TITLES[NETWORK], **style)
    axes.plot(rows[f"{name}_{best}"], places, "s", mfc="none", color=INCORRECT, label=TITLES[best], **style)
    names = [f"{COLUMNS.get(row.column, row.column)} {row.value} ({row.examples:,})" for row in rows.itertuples()]
    axes.set_yticks(places, [shorten(one, 60) for one in names], fontsize=9, parse_math=False)
    axes.set(xlim=(0, None), xlabel=f"HR@{SHOWN}", ylim=(places[-1] + 0.7, -0.7))
    _plain(axes)
    axes.legend(frameon=False, fontsize=9)
    return figure


def by_popularity(table: pd.DataFrame) -> Figure:
    """How the next items and the recommended ones are spread over popular and rare items: `item_tables.popularity`.

    The recommender by popularity is left out: all that it recommends is in the first tenth.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    figure.suptitle("Popularity of what is recommended and of what came next", size=12, weight="bold", color=INK)
    axes, places = figure.subplots(), np.arange(len(table))
    axes.bar(places, table["next_items"], 0.8, color="#dddddd", label="next items")
    for recommender, (colour, line, marker) in list(STYLES.items())[:-1]:
        axes.plot(places, table[recommender], line, color=colour, marker=marker, ms=5, label=TITLES[recommender])
    axes.set_xticks(places, [f"{row.tenth}\n{row.items:,}" for row in table.itertuples()], fontsize=9)
    axes.set(
        ylim=(0, None),
        xlabel="tenth of the training events, most popular items first; below: number of items in it",
        ylabel=f"fraction of the first {SHOWN} items",
    )
    _plain(axes)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _plain(axes: Axes) -> None:
    axes.grid(color="#e5e5e5", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
