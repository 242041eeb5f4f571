"""What the report on the data says of histories: popularity of items, lengths of histories, gaps in time, and some."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkroom.core import arrays
from darkroom.core.arrays import SPLITS, Manifest, Split
from darkroom.core.outputs import write_csv
from darkroom.core.randomness import numpy_generator

ARRAYS = "data/arrays"
SUMMARY = "histories.json"  # in the folder of arrays: what `Histories.write` says of all events
MAX_ROWS = 50  # of counts.csv; the rarer items share the last one
OTHERS = "(other items)"
SAMPLES = 10  # histories of samples.csv
_SHOWN = 10  # events of each of them
_QUANTILES = {"min": 0.0, "5": 0.05, "median": 0.5, "95": 0.95, "max": 1.0}
_HEAD = 0.01  # fraction of the items, of which the fraction of the events is reported


def quantiles(found: np.ndarray) -> dict[str, float]:
    """Lowest, median and highest of the values (n,), those of 5 and 95 %, and their mean; empty if there are none."""
    if not len(found):
        return {}
    levels = zip(_QUANTILES, np.quantile(found, list(_QUANTILES.values())).tolist(), strict=True)
    return {name: round(value, 3) for name, value in levels} | {"mean": round(float(found.mean()), 3)}


def facts(manifest: Manifest, splits: Mapping[str, Split]) -> dict[str, float]:
    """Numbers for metrics/preprocess.json: of all events that are left, but popularity is that in training."""
    summary, events = _summary(), np.sort(arrays.read_items(ARRAYS).train_events)[::-1]
    head = max(1, round(_HEAD * len(events)))
    per_user = summary["quantiles"]["events_per_user"]
    plain = {name: value for name, value in summary.items() if name != "quantiles"}
    return {
        **plain,
        "items_without_training": int((events == 0).sum()),
        "item_features": manifest.shape[2],
        "density": round(summary["events"] / (summary["users"] * len(events)), 6),
        "median_events_per_user": per_user["median"],
        "max_length": manifest.shape[0],
        "smallest_class_fraction": round(float(events[-1] / events.sum()), 6),
        "largest_class_fraction": round(float(events[0] / events.sum()), 6),
        "popular_events_fraction": round(float(events[:head].sum() / events.sum()), 6),  # of the most popular 1 %
    }


def counts(splits: Mapping[str, Split], classes: Sequence[str]) -> pd.DataFrame:
    """As `report.counts`, but `train` counts events, and the items behind the most frequent ones share a row."""
    columns = {name: np.bincount(splits[name].labels, minlength=len(classes)) for name in SPLITS}
    columns["train"] = arrays.read_items(ARRAYS).train_events
    table = pd.DataFrame({"class": list(classes), **columns})
    if len(table) <= MAX_ROWS:
        return table
    rest = table.iloc[MAX_ROWS - 1 :][list(SPLITS)].sum()
    return pd.concat([table.iloc[: MAX_ROWS - 1], pd.DataFrame([{"class": OTHERS, **rest}])], ignore_index=True)


def write(folder: Path, splits: Mapping[str, Split], manifest: Manifest, seed: int) -> None:
    """Write popularity.csv, lengths.csv, gaps.csv and samples.csv to `folder`."""
    items, found = arrays.read_items(ARRAYS), _summary()["quantiles"]
    write_csv(folder / "popularity.csv", popularity(items.train_events))
    gaps = found.pop("seconds_between_events")
    write_csv(folder / "lengths.csv", pd.DataFrame([{"of": name, **row} for name, row in found.items()]))
    write_csv(folder / "gaps.csv", pd.DataFrame([_in_words(gaps)]))
    write_csv(folder / "samples.csv", _samples(splits["train"], manifest, items.titles, seed))


def popularity(train_events: np.ndarray) -> pd.DataFrame:
    """The popularity curve: for the most popular n items, the events of the n-th, and the fraction of all events.

    At most 30 rows, of n that grow by a factor.
    """
    events = np.sort(train_events)[::-1]
    chosen = np.unique(np.round(np.geomspace(1, len(events), 30)).astype(np.int64))
    fractions = np.cumsum(events) / max(1, events.sum())
    table = {"items": chosen, "events": events[chosen - 1], "events_fraction": fractions[chosen - 1].round(6)}
    return pd.DataFrame(table)


def _summary() -> dict[str, Any]:
    return json.loads((Path(ARRAYS) / SUMMARY).read_bytes())


def _in_words(gaps: Mapping[str, float]) -> dict[str, str]:
    """Seconds between events, such as `3 days` or `20 s`."""
    units = ((86_400, "days"), (3600, "hours"), (60, "minutes"))
    found = {}
    for name, seconds in gaps.items():
        size, unit = next(((size, unit) for size, unit in units if seconds >= size), (1, "s"))
        found[name] = f"{seconds / size:.3g} {unit}"
    return found


def _samples(split: Split, manifest: Manifest, titles: np.ndarray, seed: int) -> pd.DataFrame:
    """Random training histories: the items of the latest events, and of the one that comes next."""
    names = [title or name for title, name in zip(titles.tolist(), manifest.classes, strict=True)]
    rows = []
    for number in numpy_generator(seed, "samples").permutation(len(split))[:SAMPLES].tolist():
        tokens = split.inputs[number]
        latest = tokens[tokens != 0][-_SHOWN:].tolist()
        shown = "; ".join(names[token - 1] for token in latest)
        rows.append((split.ids.item(number), shown, names[int(split.labels[number])]))
    return pd.DataFrame(rows, columns=["id", "history", "next"])
