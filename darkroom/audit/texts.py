"""Render the audit of texts as one HTML page."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from darkroom.audit import tables
from darkroom.audit.data import AuditData, read_table, read_texts
from darkroom.bundle import stability
from darkroom.core.arrays import UNLABELLED
from darkroom.preprocess import languages, report, text_report

MAX_SHOWN = 60  # texts per rule or section
MAX_CHARACTERS = 500  # of a text that is shown
_LANGUAGES = "metrics/data/languages.csv"  # missing if they could not be identified
_TEMPLATE = Path(__file__).with_name("texts.html.jinja")


def render(data: AuditData) -> str:
    """The HTML of the audit."""
    findings, near = data.findings.groupby("rule").head(MAX_SHOWN), data.near_duplicates.head(MAX_SHOWN)
    suspects = {title: table.head(MAX_SHOWN) for title, table in data.suspects.items()}
    shown = [findings["id"], near["first"], near["second"], *(table["id"] for table in suspects.values())]
    found = {name: _short(text) for name, text in read_texts(name for column in shown for name in column).items()}
    counts = report.counts(data.splits, data.manifest.classes)
    splits = {**data.splits, UNLABELLED: data.unlabelled} if data.unlabelled else data.splits
    tokens = {name: text_report.token_counts(split) for name, split in splits.items()}
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        manifest=data.manifest,
        notice=data.notice,
        counts=counts.to_dict("records"),
        max_count=max(1, int(counts["train"].max())),
        lengths=_whole("metrics/data/lengths.csv"),
        scripts=_whole("metrics/data/scripts.csv"),
        languages=_whole(_LANGUAGES) if Path(_LANGUAGES).exists() else None,
        languages_sample=languages.SAMPLE,
        languages_certain=languages.CERTAIN,
        drift=tables.drift(counts, "tokens", tokens),
        drift_limits=(stability.WARNING, stability.ALARM),
        samples=_samples(),
        finding_counts=tables.count_by(data.findings, ["rule", "split", "action"]),
        findings=[{**row, "text": found.get(row["id"], "")} for row in findings.to_dict("records")],
        findings_total=len(data.findings),
        pair_counts=tables.count_pairs(data.near_duplicates),
        pairs=[
            {**row, "texts": [found.get(row["first"], ""), found.get(row["second"], "")]}
            for row in near.to_dict("records")
        ],
        pairs_total=len(data.near_duplicates),
        suspects={
            title: {
                "total": len(data.suspects[title]),
                "rows": [{**row, "text": found.get(row["id"], "")} for row in table.to_dict("records")],
            }
            for title, table in suspects.items()
        },
        max_shown=MAX_SHOWN,
    )


def _samples() -> list[dict[str, Any]]:
    rows = read_table("metrics/data/samples.csv").groupby("class", sort=False)["text"]
    return [{"class": name, "texts": [_short(text) for text in some]} for name, some in rows]


def _short(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def _whole(path: str) -> dict[str, Any]:
    """A table, whose first column is a name, as its columns and rows; the other values are numbers."""
    table = read_table(path)
    rows = [[name, *map(_number, values)] for name, *values in table.to_numpy().tolist()]
    return {"columns": [name.replace("_", " ") for name in table], "rows": rows}


def _number(value: str) -> int | float:
    return int(float(value)) if float(value).is_integer() else round(float(value), 4)
