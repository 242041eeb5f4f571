"""Render the audit as one HTML page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined

from darkroom.audit import figures
from darkroom.audit.data import AuditData, read_originals
from darkroom.bundle import drift, stability
from darkroom.core.arrays import UNLABELLED, Split
from darkroom.figures.images import to_pil
from darkroom.preprocess import report, sample_sheet
from darkroom.statistics.multiple import holm

MAX_SHOWN = 60  # images per rule or section
_MAX_SIZES = 20  # rows of the table of sizes
_BLOCK = 4096  # images in memory at a time
_TEMPLATE = Path(__file__).with_name("audit.html.jinja")


def render(data: AuditData) -> str:
    """The HTML of the audit."""
    findings, near = data.findings.groupby("rule").head(MAX_SHOWN), data.near_duplicates.head(MAX_SHOWN)
    originals = read_originals({*findings["id"], *near["first"], *near["second"]})
    images = {name: figures.data_uri(to_pil(image)) for name, image in originals.items()}
    counts = report.counts(data.splits, data.manifest.classes)
    brightness = {name: _brightness(split) for name, split in data.splits.items()}
    if data.unlabelled:
        brightness[UNLABELLED] = _brightness(data.unlabelled)
    sheet = sample_sheet.sample_sheet(data.splits["train"], data.manifest, data.seed, data.unlabelled)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        manifest=data.manifest,
        notice=data.notice,
        counts=counts.to_dict("records"),
        max_count=max(1, int(counts["train"].max())),
        sizes=[(*key, count) for key, count in data.sizes.most_common(_MAX_SIZES)],
        other_sizes=max(0, len(data.sizes) - _MAX_SIZES),
        histograms=figures.data_uri(figures.brightness_histograms(brightness)),
        drift=_drift(counts, brightness),
        shift=data.shift,
        drift_limits=(stability.WARNING, stability.ALARM),
        sheet=figures.data_uri(sheet),
        finding_counts=_count_by(data.findings, ["rule", "split", "action"]),
        findings=[{**row, "image": images.get(row["id"])} for row in findings.to_dict("records")],
        findings_total=len(data.findings),
        pair_counts=_count_pairs(data.near_duplicates),
        pairs=[
            {**row, "images": [images.get(row["first"]), images.get(row["second"])]} for row in near.to_dict("records")
        ],
        pairs_total=len(data.near_duplicates),
        suspects={title: _suspects(table, data.splits) for title, table in data.suspects.items()},
        max_shown=MAX_SHOWN,
    )


def _brightness(split: Split) -> np.ndarray:
    """Mean brightness (N,) float64 of the images, 0..255."""
    blocks = (split.inputs[start : start + _BLOCK] for start in range(0, len(split), _BLOCK))
    return np.concatenate([np.empty(0), *map(drift.brightness, blocks)])


def _drift(counts: pd.DataFrame, brightness: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The other splits against the training set: `index` (None: too few images), Holm-adjusted `p`.

    The classes of unlabelled images are unknown. Splits without images are left out.
    """
    brightness = {name: values for name, values in brightness.items() if len(values)}
    if "train" not in brightness:
        return []
    edges = stability.edges(brightness["train"])
    bins = {
        "classes": {name: counts[name].to_numpy() for name in brightness if name != UNLABELLED},
        "brightness": {name: stability.binned(edges, values) for name, values in brightness.items()},
    }
    rows = [
        {"split": name, "feature": feature, "index": _index(some["train"], some[name])}
        for name in brightness
        for feature, some in bins.items()
        if name != "train" and name in some
    ]
    p = [stability.p_value(bins[row["feature"]]["train"], bins[row["feature"]][row["split"]]) for row in rows]
    return [{**row, "p": value} for row, value in zip(rows, holm(np.array(p)).tolist(), strict=True)]


def _index(expected: np.ndarray, observed: np.ndarray) -> float | None:
    """The population stability index of counts (B,); None if there are too few images for it."""
    enough = min(expected.sum(), observed.sum()) >= stability.min_samples(len(expected))
    return stability.stability(expected, observed) if enough else None


def _count_by(table: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    return list(table.groupby(columns).size().reset_index().itertuples(index=False, name=None))


def _count_pairs(near_duplicates: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Number of pairs by the splits of their images, most frequent first."""
    splits = [" and ".join(sorted(row)) for row in near_duplicates[["first_split", "second_split"]].to_numpy().tolist()]
    return list(pd.Series(splits, dtype=str).value_counts().items())


def _suspects(table: pd.DataFrame, splits: Mapping[str, Split]) -> dict[str, Any]:
    rows = table.head(MAX_SHOWN).to_dict("records")
    wanted = {row["id"] for row in rows}
    images = {
        name: split.inputs[index]
        for split in splits.values()
        for index, name in enumerate(split.ids.tolist())
        if name in wanted
    }
    shown = [{**row, "image": figures.data_uri(to_pil(images[row["id"]]))} for row in rows]
    return {"total": len(table), "rows": shown}
