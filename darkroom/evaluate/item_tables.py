"""Tables about rankings of items: recommenders beside each other, slices of histories, popularity, items."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from darkroom.core.arrays import Items, Split
from darkroom.evaluate.item_answers import Answers
from darkroom.evaluate.slices import in_order
from darkroom.recommend import ranking
from darkroom.recommend.ranking import KS, SHOWN, Ranking
from darkroom.statistics.intervals import mean_interval, wilson

NETWORK = "model"  # the network among the recommenders
MAIN = f"ndcg_at_{SHOWN}"  # by which a recommender is the best
COMPARED = (f"hr_at_{SHOWN}", MAIN)
TENTHS = 10
MAX_ITEMS = 100  # rows of the table of items


def scores(found: Ranking) -> dict[str, np.ndarray]:
    """The measures of a ranking by name, for each example: (N,) bool or float64; their means are the metrics."""
    return {
        **{f"hr_at_{k}": found.hits(k) for k in KS},
        **{f"ndcg_at_{k}": ranking.gains(found.ranks, k) for k in KS[1:]},  # NDCG@1 is HR@1
        "mrr": ranking.reciprocal(found.ranks),
    }


def recommenders(rankings: Mapping[str, Ranking], train_events: np.ndarray) -> pd.DataFrame:
    """One row per recommender of the same histories: its metrics, and how much better the network is.

    `_low` and `_high` bound 95 % intervals over users: Wilson's of hit rates, the bootstrap-t of means.
    `coverage_at_10` is the fraction of the items that someone gets among the first 10, and `popularity_at_10` the mean
    number of `train_events` (items,) of these 10. `_gain` is the paired difference, network minus the recommender.
    """
    own, rows = scores(rankings[NETWORK]), []
    for name, found in rankings.items():
        row: dict[str, float | str] = {"recommender": name}
        for key, values in scores(found).items():
            row |= _with_bounds(key, values, _interval(values))
        shown = found.best[:, :SHOWN]
        row[f"coverage_at_{SHOWN}"] = len(np.unique(shown[shown >= 0])) / len(train_events)
        row[f"popularity_at_{SHOWN}"] = float(train_events[shown[shown >= 0]].mean())
        for key in COMPARED if name != NETWORK else ():
            gain = own[key].astype(float) - scores(found)[key]
            row |= _with_bounds(f"{key}_gain", gain, np.clip(mean_interval(gain), -1, 1))
        rows.append(row)
    return pd.DataFrame(rows)


def best_baseline(table: pd.DataFrame) -> str:
    """The baseline with the highest NDCG@10 in a table of `recommenders`."""
    others = table[table["recommender"] != NETWORK]
    return str(others.loc[others[MAIN].idxmax(), "recommender"])


def slices(sliced: Mapping[str, np.ndarray], rankings: Mapping[str, Ranking], best: str) -> pd.DataFrame:
    """One row per value of each column of slices (N,): examples, HR@10 and NDCG@10 with intervals, HR@10 of `best`."""
    own, rows = scores(rankings[NETWORK]), []
    for column, value, chosen in _of_slices(sliced):
        row: dict[str, float | str] = {"column": column, "value": value, "examples": int(chosen.sum())}
        for key in COMPARED:
            row |= _with_bounds(key, own[key][chosen], _interval(own[key][chosen]))
        rows.append(row | {f"hr_at_{SHOWN}_{best}": float(rankings[best].hits(SHOWN)[chosen].mean())})
    return pd.DataFrame(rows)


def popularity(rankings: Mapping[str, Ranking], labels: np.ndarray, train_events: np.ndarray) -> pd.DataFrame:
    """One row per tenth of the training events, from the most popular items to the rarest.

    Columns: tenth (1 for the most popular), items, and the fractions that fall on these items: of the next items
    (`labels` (N,)) and of the first 10 of each recommender.
    """
    order = np.argsort(-train_events, kind="stable")
    before = np.cumsum(train_events[order]) - train_events[order]
    tenth = np.empty(len(order), np.int64)
    tenth[order] = np.minimum(before * TENTHS // max(1, train_events.sum()), TENTHS - 1)
    fractions = {"next_items": labels} | {
        name: found.best[:, :SHOWN][found.best[:, :SHOWN] >= 0] for name, found in rankings.items()
    }
    return pd.DataFrame(
        {
            "tenth": np.arange(1, TENTHS + 1),
            "items": np.bincount(tenth, minlength=TENTHS),
            **{name: np.bincount(tenth[some], minlength=TENTHS) / len(some) for name, some in fractions.items()},
        }
    )


def per_item(found: Ranking, labels: np.ndarray, items: Items, classes: Sequence[str]) -> pd.DataFrame:
    """One row for each of the MAX_ITEMS items that are most often the next one, or recommended first.

    Columns: class, title, train_events, support (examples in which it is the next item), hr_at_10 of these, recommended
    (examples in which it is among the first 10), and precision, recall and f1 of the first recommendation.
    """
    count, first = len(classes), found.best[:, 0]
    shown = found.best[:, :SHOWN]
    support, predicted = np.bincount(labels, minlength=count), np.bincount(first[first >= 0], minlength=count)
    both, hits = (np.bincount(labels[found.hits(k)], minlength=count) for k in (1, SHOWN))
    some = np.lexsort((-predicted, -support))[:MAX_ITEMS]
    tested = np.where(support > 0, support, np.nan)
    table = pd.DataFrame(
        {
            "class": list(classes),
            "title": items.titles.astype(object),
            "train_events": items.train_events,
            "support": support,
            f"hr_at_{SHOWN}": hits / tested,
            "recommended": np.bincount(shown[shown >= 0], minlength=count),
            "precision": both / np.maximum(predicted, 1),
            "recall": both / tested,
            "f1": 2 * both / (tested + predicted),
        }
    )
    return table.iloc[some]


def predictions(
    answers: Answers, test: Split, classes: Sequence[str], sliced: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """One row per example: id, next item (label), first recommendation, its probability, rank, slices.

    The first recommendation is "" if no item is left. It has no column `predicted`, from which `dvc plots` would draw a
    confusion matrix of all items.
    """
    names = np.array([*classes, ""], dtype=object)
    return pd.DataFrame(
        {
            "id": test.ids,
            "label": names[np.asarray(test.labels)],
            "recommended": names[answers.ranking.best[:, 0]],
            "confidence": answers.confidence,
            "label_probability": answers.label_probability,
            "rank": answers.ranking.ranks,
            **sliced,
        }
    )


def _of_slices(sliced: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Each slice: its column, its value, and which examples (N,) bool it has; examples without a value are in none."""
    for column, of in sliced.items():
        names, index = np.unique(of.astype(str), return_inverse=True)
        for chosen in in_order(names):
            if names[chosen]:
                yield column, str(names[chosen]), index == chosen


def _interval(values: np.ndarray) -> np.ndarray:
    """The 95 % confidence interval (2,) of the mean of values (N,) in 0..1: Wilson's of hits, else the bootstrap-t.

    No resample of equal values differs: theirs is Wilson's too, which is wide enough for all values in 0..1.
    """
    if values.dtype == bool or (values == values[0]).all():
        return wilson(values.sum(), len(values))
    return np.clip(mean_interval(values), 0, 1)


def _with_bounds(name: str, values: np.ndarray, bounds: np.ndarray) -> dict[str, float]:
    return {name: float(values.mean()), f"{name}_low": float(bounds[0]), f"{name}_high": float(bounds[1])}
