"""A page of rows of a table with the reasons of each prediction: what each column adds to the log-odds of the class."""

import html as markup
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.core.spelling import confusion

SUPPORTS, OPPOSES = "#e66101", "#5e3c99"  # orange and purple, as in the figures of images
REASONS = 8  # columns shown of each row
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem } table { border-collapse: collapse; margin: 0 0 1rem; width: 100% }
td { padding: .1rem .5rem } td.bar { width: 45% } caption { text-align: left; color: #555; margin-top: 1rem }
.bar div { height: .8rem } td.number { text-align: right; font-variant-numeric: tabular-nums }
"""


@dataclass(frozen=True)
class Example:
    """One row with its prediction, its values as texts, and what each column adds to the predicted class."""

    kind: str
    id: str
    label: str
    predicted: str
    confidence: float
    values: Sequence[str]
    contributions: np.ndarray


def html(names: Sequence[str], examples: Sequence[Example], notes: Sequence[str]) -> str:
    """The page; examples of one kind follow each other."""
    parts, kind = [], ""
    for example in examples:
        if example.kind != kind:
            kind = example.kind
            parts.append(f"<h2>{markup.escape(kind.capitalize())}</h2>")
        parts.append(_table(names, example))
    said = "".join(f"<p>{markup.escape(note)}</p>" for note in notes)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Reasons of predictions</title>'
        f"<style>{_STYLE}</style><h1>Reasons of predictions</h1><p>What each column adds to the log-odds of the "
        "predicted class, relative to typical rows: orange supports it, purple opposes it. The values of all columns "
        f"add up to the whole difference.</p>{said}{''.join(parts)}</html>\n"
    )


def _table(names: Sequence[str], example: Example) -> str:
    order = np.argsort(-np.abs(example.contributions), kind="stable")[:REASONS]
    limit = float(np.abs(example.contributions).max()) or 1.0
    rows = []
    for index in order.tolist():
        value = float(example.contributions[index])
        bar = f'<div style="width: {100 * abs(value) / limit:.0f}%; background: {SUPPORTS if value > 0 else OPPOSES}">'
        given = markup.escape(example.values[index] or "(missing)")
        rows.append(
            f'<tr><td>{markup.escape(names[index])}</td><td>{given}</td><td class="number">{value:+.2f}</td>'
            f'<td class="bar">{bar}</div></td></tr>'
        )
    answer = f"{example.id}: {confusion(example.label, example.predicted)}, {example.confidence:.1%}"
    return f"<table><caption>{markup.escape(answer)}</caption>{''.join(rows)}</table>"
