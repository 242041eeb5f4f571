"""Render the audit of images as one HTML page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined

from darkroom.audit import figures, tables
from darkroom.audit.data import AuditData, read_originals
from darkroom.bundle import drift, stability
from darkroom.core.arrays import UNLABELLED, Split
from darkroom.figures.images import to_pil
from darkroom.preprocess import report, sample_sheet

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
        drift=tables.drift(counts, "brightness", brightness),
        shift=data.shift,
        drift_limits=(stability.WARNING, stability.ALARM),
        sheet=figures.data_uri(sheet),
        finding_counts=tables.count_by(data.findings, ["rule", "split", "action"]),
        findings=[{**row, "image": images.get(row["id"])} for row in findings.to_dict("records")],
        findings_total=len(data.findings),
        pair_counts=tables.count_pairs(data.near_duplicates),
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
