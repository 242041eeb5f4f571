"""The review for people: Markdown that fits a comment, and one HTML page that needs no network."""

import html as escaping
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt

from darkroom.review.compare import Review, changes
from darkroom.review.significance import LEVEL, Difference

SHOWN = 10  # pictures, parameters and files of each kind
MOST_CLASSES = 20

_EVALUATE, _TRAIN, _EXPORT, _DATA = (
    "metrics/evaluate.json",
    "metrics/train.json",
    "metrics/export.json",
    "metrics/preprocess.json",
)
_ROBUSTNESS = "metrics/robustness.json"
_QUALITY = {  # the rows of the table, with an arrow where less is better: file, name, and whether it is a share
    "accuracy": (_EVALUATE, "accuracy", True),
    "macro F1": (_EVALUATE, "macro_f1", True),
    "accuracy of the worst class": (_EVALUATE, "worst_class_accuracy", True),
    "loss ↓": (_EVALUATE, "calibration.after.loss", False),
    "Brier score ↓": (_EVALUATE, "calibration.after.brier", False),
    "calibration error ↓": (_EVALUATE, "calibration.after.ece", True),
    "calibration error before the temperature ↓": (_EVALUATE, "calibration.before.ece", True),
    "accuracy of the surest 90 %": (_EVALUATE, "selective.accuracy_at_90", True),
    "answered at the threshold": (_EVALUATE, "abstention.coverage", True),
    "accuracy of what is answered": (_EVALUATE, "abstention.accuracy", True),
    "accuracy under corruptions": (_ROBUSTNESS, "mean_accuracy", True),
    "mean corruption error ↓": (_ROBUSTNESS, "mean_corruption_error", True),
    "validation accuracy": (_TRAIN, "val_accuracy", True),
}
_COST = {  # file, name, digits
    "seconds of training": ("metrics/cost/train.json", "training_seconds", 1),
    "memory of training, MB": ("metrics/cost/train.json", "peak_memory_mb", 0),
    "parameters": (_TRAIN, "parameters", 0),
    "operations a picture": (_TRAIN, "operations_per_image", 0),
    "size of the bundle, MB": (_EXPORT, "size_mb", 2),
    "latency of a picture, ms": ("metrics/cost/export.json", "latency_ms", 2),
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #ddd }
code { background: #f3f3f3; padding: 0 .2rem } h2 { border-bottom: 1px solid #ccc } td[style*=right], th[style*=right] { text-align: right }
"""


def markdown(review: Review, folded: bool = True) -> str:
    """The review as GitHub's Markdown, the verdict first; the pictures are folded away if `folded`."""
    old, new = review.old.revision.name, review.new.revision.name
    parts = [
        f"## {_title(review)}",
        _verdict(review),
        _method(review),
        *_warnings(review),
        _attested(review),
        "### What changed",
        _changed(review),
        "### Numbers",
        _quality(review),
        "### Classes",
        _classes(review),
        _corruptions(review),
        "### Pictures",
        *(
            _pictures(review, name, table, folded)
            for name, table in (("fixed", review.fixed), ("broken", review.broken))
        ),
        "### Cost",
        _costs(review),
        f"{_cell(old)}: `{review.old.revision.commit[:12] or 'not committed'}`; {_cell(new)}: `{review.new.revision.commit[:12] or 'not committed'}`",
    ]
    return "\n\n".join(part for part in parts if part)


def html(review: Review) -> str:
    """The review as a page of its own."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown(review, folded=False))
    title = escaping.escape(_title(review))
    return f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>\n<body>\n{body}</body></html>\n'


def _title(review: Review) -> str:
    words = {
        "better": "Better on this test set",
        "worse": "Worse on this test set",
        "within noise": "Within the noise of the test set",
    }
    return words[review.verdict]


def _verdict(review: Review) -> str:
    found = review.differences["accuracy"]
    old, new = (one.metrics[_EVALUATE]["accuracy"] for one in (review.old, review.new))
    if not len(review.fixed) and not len(review.broken):
        return f"Accuracy {_percent(new)}: each of the {len(review.new.predictions):,} test pictures is answered as right or as wrong as before."
    interval = f"{_points(found.low)} to {_points(found.high)}"
    return (
        f"Accuracy {_percent(old)} → **{_percent(new)}**: {_points(found.value)} points, 95 % interval {interval}, McNemar's exact p {_is(found.p)} "
        f"(more than luck: below {LEVEL:g}). Of {len(review.new.predictions):,} test pictures {len(review.fixed)} are fixed "
        f"(wrong before, right now) and {len(review.broken)} broken."
    )


def _method(review: Review) -> str:
    measured = [one for one in (review.old, review.new) if one.seeds]
    sides = [f"{_percent(one.seeds['mean'])} ± {100 * one.seeds['std']:.2f} (n = {one.seeds['n']})" for one in measured]
    found = review.over_seeds
    if found:
        verdict = {
            "better": "the change helps",
            "worse": "the change harms",
            "within noise": "the change is within the noise of the seed",
        }[review.method]
        interval = f"{_points(found.low)} to {_points(found.high)}"
        return f"Over seeds: {sides[0]} → {sides[1]}, {_points(found.value)} points ({interval}; Welch's p {_is(found.p)}): **{verdict}**."
    known = f" What is known: {sides[0]} over seeds for {_cell(measured[0].revision.name)}." if sides else ""
    return f"This is one training against one: whether the change would do the same with another seed is not known.{known} `dvc repro seeds/dvc.yaml` tells."


def _warnings(review: Review) -> list[str]:
    return [
        f"**Caution:** `dvc.lock` of {_cell(name)} is not of its files, so its numbers may come from other code, data or parameters: {_list(found, _cell)}."
        for name, found in review.stale.items()
    ] + [
        f"**Caution:** `seeds/dvc.lock` of {_cell(name)} is not of its files, so its numbers over seeds, which may be of another method, are left "
        f"out: {_list(_once(found), _cell)}. `dvc repro seeds/dvc.yaml` brings them up to date."
        for name, found in review.stale_seeds.items()
    ]


def _once(found: Iterable[str]) -> list[str]:
    """Of what is said of the training of each seed, `train@1 read …` and `train@2 read …`, the first."""
    first: dict[str, str] = {}
    for said in found:
        first.setdefault(re.sub(r"@\S+", "", said), said)
    return list(first.values())


def _attested(review: Review) -> str:
    sides = zip((review.old, review.new), review.attested, strict=True)
    remedy = (
        " `python -m darkroom.verify` runs a commit again, and attests what comes out."
        if review.attested[1].state == "none"
        else ""
    )
    caution = "**Caution:** " if any(standing.state in ("outdated", "invalid") for standing in review.attested) else ""
    return f"{caution}Reproduction: {'; '.join(f'{_cell(one.revision.name)} {_plain(standing.sentence)}' for one, standing in sides)}.{remedy}"


def _changed(review: Review) -> str:
    rows = [[_code(name), _value(old), _value(new)] for name, old, new in changes(review.old.params, review.new.params)]
    data = changes(*(one.metrics.get(_DATA, {}) for one in (review.old, review.new)))
    rows += [[f"data: {_cell(name)}", _value(old), _value(new)] for name, old, new in data]
    rest = f"\n\n… and {len(rows) - 2 * SHOWN} more" if len(rows) > 2 * SHOWN else ""
    table = (
        _table(["", _cell(review.old.revision.name), _cell(review.new.revision.name)], rows[: 2 * SHOWN]) + rest
        if rows
        else "Same parameters and data."
    )
    return f"{table}\n\nFiles of code and data: {_list(review.code, _code) or 'the same'}."


def _quality(review: Review) -> str:
    rows = []
    for title, (path, name, share) in _QUALITY.items():
        old, new = (one.metrics.get(path, {}).get(name) for one in (review.old, review.new))
        if old is None and new is None:
            continue
        shown: Callable[[float], str] = _percent if share else "{:.4f}".format
        signed: Callable[[float], str] = _points if share else "{:+.4f}".format
        paired = review.differences.get(name) if path == _EVALUATE else None
        rows.append([title, *_pair(old, new, shown, signed), *_tested(paired, signed)])
    legend = f"\\* p < {LEVEL:g}: more than luck explains. ↓ less is better. Differences of percentages are in points."
    return f"{_table(['', 'old', 'new', 'difference', '95 % interval', 'p'], rows)}\n\n{legend}"


def _classes(review: Review) -> str:
    table = review.classes
    if len(table) > MOST_CLASSES:
        table = table.loc[table["difference"].abs().sort_values(ascending=False, kind="stable").index[:MOST_CLASSES]]
    rows = []
    for row in table.itertuples():
        found = Difference(row.difference, row.low, row.high, row.p)
        rows.append(
            [_cell(row._1), row.pictures, *_pair(row.old, row.new, _percent, _points), *_tested(found, _points)]
        )
    some = (
        f" The {MOST_CLASSES} that changed most of {len(review.classes)}." if len(review.classes) > MOST_CLASSES else ""
    )
    real = [row._1 for row in review.classes.itertuples() if row.p < LEVEL]
    head = f"Really different: {_list(real, _cell)}." if real else "None differs by more than noise."
    return (
        f"{head} p, unlike the intervals, is corrected for looking at {len(review.classes)} classes (Holm).{some}\n\n"
        + _table(["class", "pictures", "old", "new", "difference", "95 % interval", "p"], rows)
    )


def _corruptions(review: Review) -> str:
    old, new = (
        {
            name.removeprefix("accuracy."): share
            for name, share in one.metrics.get(_ROBUSTNESS, {}).items()
            if name.startswith("accuracy.")
        }
        for one in (review.old, review.new)
    )
    rows = [[_cell(name), *_pair(old.get(name), new.get(name), _percent, _points)] for name in {**old, **new}]
    return "### Corruptions\n\n" + _table(["accuracy under", "old", "new", "difference"], rows) if rows else ""


def _pictures(review: Review, name: str, table: pd.DataFrame, folded: bool) -> str:
    if table.empty:
        return f"None {name}."
    rows = [
        [_cell(row.id), _cell(row.label), _cell(row.old), _cell(row.new), _percent(row.confidence)]
        for row in table.head(SHOWN).itertuples()
    ]
    title = f"{len(table)} {name}{f', the {SHOWN} with the surest mistakes' if len(table) > SHOWN else ''}"
    listed = _table(["picture", "it is", "old answer", "new answer", "confidence of the wrong one"], rows)
    return f"<details><summary>{title}</summary>\n\n{listed}\n\n</details>" if folded else f"{title}:\n\n{listed}"


def _costs(review: Review) -> str:
    rows = []
    for title, (path, name, digits) in _COST.items():
        old, new = ({**one.metrics, **one.costs}.get(path, {}).get(name) for one in (review.old, review.new))
        if old is not None or new is not None:
            ratio = f"{new / old:.2f}" if old and new is not None else ""
            rows.append([title, *("" if value is None else f"{value:,.{digits}f}" for value in (old, new)), ratio])
    return _table(["", "old", "new", "new / old"], rows)


def _pair(old: float | None, new: float | None, shown: Callable, signed: Callable) -> list[str]:
    difference = signed(new - old) if old is not None and new is not None else ""
    return ["" if old is None else shown(old), "" if new is None else shown(new), difference]


def _tested(found: Difference | None, signed: Callable) -> list[str]:
    return (
        [f"{signed(found.low)} to {signed(found.high)}", _p(found.p) + (" *" if found.real else "")]
        if found
        else ["", ""]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"


def _p(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def _is(p: float) -> str:
    return _p(p) if p < 0.0001 else f"= {_p(p)}"


def _value(value: Any) -> str:
    return "" if value is None else _cell(f"{value:.6g}" if isinstance(value, float) else str(value))


def _list(items: Sequence[str], escape: Callable[[str], str]) -> str:
    return ", ".join(escape(item) for item in items[:SHOWN]) + (
        f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    )


def _code(text: str) -> str:
    """A text as code, in which Markdown knows no escapes but that of a table's bar."""
    plain = re.sub(r"[\s`]", " ", text).replace("|", r"\|")
    return f"`{plain}`"


def _cell(text: str) -> str:
    """A text that stays inside its table's cell and is neither HTML nor Markdown."""
    return _plain(text if len(text) <= 80 else f"{text[:79]}…")


def _plain(text: str) -> str:
    """A text that is neither HTML nor Markdown."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", escaping.escape(re.sub(r"\s", " ", text), quote=False))
