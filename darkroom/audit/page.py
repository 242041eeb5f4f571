"""The audit of the data: one page, with pictures, that needs no network.

Class balance, sizes, brightness, drift between the splits, samples, everything that was found with thumbnails, pairs that are
nearly the same, and labels that are probably wrong. Run it after `dvc repro preprocess`; suspect labels need `dvc repro` (test) or
`python -m darkroom.crossval` (training).
"""

import argparse
import base64
import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from darkroom import schema
from darkroom.core import arrays
from darkroom.core.arrays import SPLITS, Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_text
from darkroom.datasets import index
from darkroom.preprocess import raw_data, report

SHOWN = 60  # thumbnails a section, at most
COLOURS = {
    "train": "#0072B2",
    "val": "#E69F00",
    "test": "#009E73",
}  # of Okabe and Ito: colour-blind people tell them apart

_BLOCK = 4096  # pictures looked at at a time
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc }
table { border-collapse: collapse } th, td { padding: .15rem .8rem .15rem 0; text-align: left } td.number { text-align: right }
.bar { display: inline-block; height: .7em; background: #0072B2 }
.sheet { display: flex; flex-wrap: wrap; gap: .8rem; padding: 0 } figure { margin: 0; width: 8rem; font-size: .8rem; overflow-wrap: anywhere }
figure img { width: 6rem; height: 6rem; object-fit: contain; image-rendering: pixelated; background: #eee }
.pair { display: flex; flex-wrap: wrap; gap: .2rem; width: 16.4rem } .pair p { flex-basis: 100%; margin: 0; font-size: .8rem }
img.wide { max-width: 100% }
"""


def page(
    manifest: Manifest,
    splits: Mapping[str, Split],
    findings: pd.DataFrame,
    near: pd.DataFrame,
    suspects: Mapping[str, pd.DataFrame],
    seed: int,
) -> str:
    """The HTML of the audit.

    `findings` and `near` are findings.csv and near_duplicates.csv of metrics/data, `suspects` holds tables as `labels.table`
    makes them, by what they are of.
    """
    findings_shown, near_shown = findings.groupby("rule").head(SHOWN), near.head(SHOWN)
    originals = _originals({*findings_shown["id"], *near_shown["first"], *near_shown["second"]})
    counts = report.counts(splits, manifest.classes)
    brightness = {name: _brightness(split) for name, split in splits.items()}
    height, width, channels = manifest.shape
    parts = [
        f"<h1>{escape(manifest.title)}</h1><p>{escape(manifest.licence)}. {len(manifest.classes)} classes; "
        f"{', '.join(f'{count:,} {name}' for name, count in manifest.counts.items())} pictures of {height} x {width}, "
        f"{'grey' if channels == 1 else 'colour'}.</p>",
        _section("Classes", _balance(counts)),
        _section("Sizes of the originals", _sizes()),
        _section("Brightness", _wide(_histograms(brightness), "Share of pictures by mean brightness, a line a split")),
        _section("Drift between the splits", _drift(counts, brightness)),
        _section(
            "Samples",
            _wide(report.sample_sheet(splits["train"], manifest, seed), "Some training pictures of each class"),
        ),
        _section("What was found in the data", _found(findings, findings_shown, originals)),
        _section("Pictures that are nearly the same", _near(near, near_shown, originals)),
        *(
            _section(f"Labels that are probably wrong: {name}", _suspects(table, splits))
            for name, table in suspects.items()
        ),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Audit of {escape(manifest.title)}</title><style>{_STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def population_stability(expected: np.ndarray, found: np.ndarray) -> float:
    """How far the shares of `found` (K,) counts are from those of `expected` (K,) counts: under 0.1 is called stable, over 0.25 a shift.

    The population stability index, the sum of (q - p) ln(q / p), with half a count added to each bin: Siddiqi, "Credit risk
    scorecards", 2006.
    """
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (expected, found))
    return float(((q - p) * np.log(q / p)).sum())


def _brightness(split: Split) -> np.ndarray:
    """The mean of each picture, 0..255, (N,) float64."""
    starts = range(0, len(split), _BLOCK)
    return (
        np.concatenate([split.inputs[start : start + _BLOCK].mean((1, 2, 3)) for start in starts])
        if len(split)
        else np.empty(0)
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{body}\n</section>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; cells that are no text are numbers, a cell that is Markup of ours is in a list of one."""

    def cell(value: object) -> str:
        if isinstance(value, list):
            return f"<td>{value[0]}</td>"
        return f"<td>{escape(value)}</td>" if isinstance(value, str) else f'<td class="number">{value}</td>'

    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows) + "</table>"


def _balance(counts: pd.DataFrame) -> str:
    most = max(1, int(counts["train"].max()))
    bars = [[f'<span class="bar" style="width: {12 * count / most:.2f}rem"></span>'] for count in counts["train"]]
    return _table(
        ["class", *SPLITS, "training"],
        ([*row, bar] for row, bar in zip(counts.itertuples(index=False), bars, strict=True)),
    )


def _sizes() -> str:
    if not Path("data/raw", index.FILE).exists():
        return "<p>All alike, as they were published.</p>"
    sizes = Counter((entry.format, entry.width, entry.height) for entry in index.read("data/raw") if not entry.problem)
    rows = [(kind, width, height, count) for (kind, width, height), count in sizes.most_common(20)]
    rest = f"<p>and {len(sizes) - 20:,} further sizes.</p>" if len(sizes) > 20 else ""
    return _table(["format", "width", "height", "pictures"], rows) + rest


def _histograms(brightness: Mapping[str, np.ndarray]) -> Figure:
    figure = Figure(figsize=(8, 3), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel="mean brightness", ylabel="share of pictures")
    for name, values in brightness.items():
        shares, edges = np.histogram(values, 64, (0, 255))
        axes.step(edges[:-1], shares / max(1, len(values)), where="post", color=COLOURS[name], label=name)
    axes.legend(frameon=False)
    return figure


def _drift(counts: pd.DataFrame, brightness: Mapping[str, np.ndarray]) -> str:
    edges = np.unique(np.quantile(brightness["train"], np.linspace(0, 1, 11)))
    edges[0], edges[-1] = -np.inf, np.inf
    bins = {name: np.histogram(values, edges)[0] for name, values in brightness.items()}
    rows = []
    for name in ("val", "test"):
        classes = population_stability(counts["train"].to_numpy(), counts[name].to_numpy())
        rows.append(
            (f"{name} against train", f"{classes:.3f}", f"{population_stability(bins['train'], bins[name]):.3f}")
        )
    note = "<p>Population stability index: under 0.1 the split is like the training set, over 0.25 it is not. Small splits differ by chance.</p>"
    return _table(["split", "classes", "brightness"], rows) + note


def _found(findings: pd.DataFrame, shown: pd.DataFrame, originals: Mapping[str, np.ndarray]) -> str:
    if findings.empty:
        return "<p>Nothing: no unusable, constant, doubled or leaked picture.</p>"
    kinds = findings.groupby(["rule", "split", "done"]).size().reset_index().itertuples(index=False)
    figures = [
        _figure(originals.get(row.id), row.id, f"{row.rule}: {row.detail}; {row.done}") for row in shown.itertuples()
    ]
    some = (
        ""
        if len(shown) == len(findings)
        else f"<p>{len(shown):,} of them, {SHOWN} of a rule; all are in metrics/data/findings.csv.</p>"
    )
    return (
        _table(["rule", "split", "what was done", "pictures"], kinds)
        + some
        + f'<div class="sheet">{"".join(figures)}</div>'
    )


def _near(near: pd.DataFrame, shown: pd.DataFrame, originals: Mapping[str, np.ndarray]) -> str:
    if near.empty:
        return "<p>None, or they were not looked for (preprocess.clean.near_leak).</p>"
    between = near[["first_split", "second_split"]].apply(sorted, axis=1).str.join(" and ")
    figures = []
    for row in shown.itertuples():
        first = _figure(originals.get(row.first), row.first, f"{row.first_label}, {row.first_split}")
        second = _figure(originals.get(row.second), row.second, f"{row.second_label}, {row.second_split}")
        figures.append(f'<div class="pair">{first}{second}<p>{row.difference:.2f} grey levels</p></div>')
    note = f"<p>{_count(near)}, the nearest first; those of training that are near to validation or test were left out of it.</p>"
    return (
        _table(["between", "pairs"], between.value_counts().items())
        + note
        + f'<div class="sheet">{"".join(figures)}</div>'
    )


def _originals(wanted: set[str]) -> dict[str, np.ndarray]:
    """The pictures of these ids, also those that are in no split, from the raw data; those that cannot be decoded are missing."""
    raw = raw_data.read("data/raw", schema.load().preprocess)
    places = np.flatnonzero(np.isin(raw.samples.ids, list(wanted)))
    return {
        raw.samples.ids.item(place): image
        for place, image in zip(places, raw.take(places), strict=True)
        if not isinstance(image, str)
    }


def _count(table: pd.DataFrame) -> str:
    return f"{len(table):,}" if len(table) <= SHOWN else f"{SHOWN} of {len(table):,}"


def _suspects(table: pd.DataFrame, splits: Mapping[str, Split]) -> str:
    if table.empty:
        return "<p>None.</p>"
    places = {name: (split, place) for split in splits.values() for place, name in enumerate(split.ids.tolist())}
    figures = []
    for row in table.head(SHOWN).itertuples():
        split, place = places[row.id]
        figures.append(_figure(split.inputs[place], row.id, f"{row.label} → {row.suggested}? (by {row.margin:+.2f})"))
    return f'<p>{_count(table)}, the most suspect first.</p><div class="sheet">{"".join(figures)}</div>'


def _figure(image: np.ndarray | None, name: str, text: str) -> str:
    source = f'<img src="{_data(_drawn(image))}" alt="{escape(name)}">' if image is not None else "<em>no picture</em>"
    return f"<figure>{source}<figcaption>{escape(name)}<br>{escape(text)}</figcaption></figure>"


def _wide(picture: Figure | Image.Image, alt: str) -> str:
    return f'<img class="wide" src="{_data(picture)}" alt="{escape(alt)}">'


def _drawn(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _data(picture: Figure | Image.Image) -> str:
    """The picture as a PNG inside of a link."""
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, format="png", metadata={"Software": None})
    else:
        picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _suspect_tables() -> Iterator[tuple[str, pd.DataFrame]]:
    """What is there of the test set and of the training set."""
    for name, path in (
        ("test", "metrics/evaluate/suspect_labels.csv"),
        ("training, by cross-validation", "metrics/labels/suspects.csv"),
    ):
        if Path(path).exists():
            yield name, pd.read_csv(path, dtype={"id": str, "label": str, "suggested": str}, keep_default_na=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m darkroom.audit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="data/audit.html", help="the page (default: data/audit.html)")
    chosen = parser.parse_args()
    try:
        manifest = arrays.read_manifest("data/arrays")
        splits = {name: arrays.read_split("data/arrays", name) for name in SPLITS}
        findings = pd.read_csv("metrics/data/findings.csv", dtype=str, keep_default_na=False)
        near = pd.read_csv("metrics/data/near_duplicates.csv", keep_default_na=False)
        classes = {
            name: manifest.classes[label]
            for split in splits.values()
            for name, label in zip(split.ids.tolist(), split.labels.tolist(), strict=True)
        }
        suspects = {
            name: table[table["label"] == table["id"].map(classes)] for name, table in _suspect_tables()
        }  # the others are of other data, or put right
        write_text(chosen.out, page(manifest, splits, findings, near, suspects, schema.load().seed))
    except (DarkroomError, OSError) as error:
        sys.exit(f"audit: {error}")
    print(f"{chosen.out}: open it in a browser; it needs no network")
