"""The review for people: Markdown that fits a comment on a pull request, and one HTML page that needs no network."""

import html as escaping
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from darkroom.review import lock
from darkroom.review.compare import Review, Side, changes
from darkroom.review.result import DATA, EVALUATE, EXPORT, ROBUSTNESS, TRAIN
from darkroom.review.significance import LEVEL, Difference

SHOWN = 10  # examples, parameters and files of each kind
MAX_CLASSES = 20
MAX_CELL = 80  # characters

TITLES = {
    "better": "Better on this test set",
    "worse": "Worse on this test set",
    "within noise": "No significant difference on this test set",
}
_QUALITY = {  # rows, with an arrow if lower is better: file, key, whether it is a fraction
    "accuracy": (EVALUATE, "accuracy", True),
    "macro F1": (EVALUATE, "macro_f1", True),
    "accuracy of the worst class": (EVALUATE, "worst_class_accuracy", True),
    "loss, calibrated ↓": (EVALUATE, "loss_calibrated", False),
    "Brier score ↓": (EVALUATE, "brier_score", False),
    "expected calibration error ↓": (EVALUATE, "expected_calibration_error", True),
    "expected calibration error, uncalibrated ↓": (EVALUATE, "expected_calibration_error_uncalibrated", True),
    "accuracy at 90 % coverage": (EVALUATE, "accuracy_at_coverage_90", True),
    "coverage at the threshold": (EVALUATE, "abstention_coverage", True),
    "accuracy at the threshold": (EVALUATE, "abstention_accuracy", True),
    "accuracy under corruptions": (ROBUSTNESS, "mean_accuracy", True),
    "accuracy under the worst corruption": (ROBUSTNESS, "worst_corruption_accuracy", True),
    "mean corruption error ↓": (ROBUSTNESS, "mean_corruption_error", True),
    "accuracy of the int8 model": (EXPORT, "int8_accuracy", True),
    "validation accuracy": (TRAIN, "val_accuracy", True),
}
_COST = {  # rows: file, key, digits
    "training, seconds": ("metrics/cost/train.json", "training_seconds", 1),
    "peak memory of training, MB": ("metrics/cost/train.json", "peak_memory_mb", 0),
    "parameters": (TRAIN, "parameters", 0),
    "FLOPs per image": (TRAIN, "flops_per_image", 0),
    "size of the bundle, MB": (EXPORT, "size_mb", 2),
    "latency per image, ms": ("metrics/cost/export.json", "latency_ms", 2),
}


def markdown(review: Review, folded: bool = True) -> str:
    """The review as GitHub's Markdown, the verdict first; the lists of examples are collapsed if `folded`."""
    text = (
        _environment()
        .get_template("review.md.jinja")
        .render(
            review=review,
            title=TITLES[review.verdict],
            accuracies=[side.result.metrics[EVALUATE]["accuracy"] for side in (review.old, review.new)],
            changes=_changes(review),
            quality=_quality(review),
            classes=_classes(review),
            corruptions=[
                [row.corruption, *_pair(row.old, row.new, _percent, _points)] for row in review.corruptions.itertuples()
            ],
            examples={"fixed": _examples(review.fixed), "broken": _examples(review.broken)},
            costs=_costs(review),
            folded=folded,
        )
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def html(review: Review) -> str:
    """The review as an HTML page."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown(review, folded=False))
    template = _environment(finalize=None).get_template("review.html.jinja")
    return template.render(title=TITLES[review.verdict], body=Markup(body))


def _environment(**settings: Any) -> Environment:
    """Templates in which each value is escaped as Markdown, since revisions and classes may have any name."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **{"finalize": _escape, **settings},
    )
    environment.filters |= {"percent": _percent, "points": _points, "p_value": _p_relation, "listed": _listed}
    environment.filters |= {"grouped": lock.grouped}
    environment.globals |= {"table": _table, "code": _code, "over_seeds": _over_seeds}
    environment.globals |= {"LEVEL": LEVEL, "SHOWN": SHOWN, "MAX_CLASSES": MAX_CLASSES}
    return environment


def _changes(review: Review) -> list[list[Any]]:
    """Parameters, then facts about the data, that differ."""
    params = changes(review.old.result.params, review.new.result.params)
    data = changes(*(side.result.metrics.get(DATA, {}) for side in (review.old, review.new)))
    rows = [(_code(name), old, new) for name, old, new in params]
    rows += [(f"data: {name}", old, new) for name, old, new in data]
    return [[name, *("" if value is None else _value(value) for value in values)] for name, *values in rows]


def _quality(review: Review) -> list[list[str]]:
    rows = []
    for title, (path, key, is_fraction) in _QUALITY.items():
        old, new = (side.result.metrics.get(path, {}).get(key) for side in (review.old, review.new))
        if old is None and new is None:
            continue
        shown, signed = (_percent, _points) if is_fraction else ("{:.4f}".format, "{:+.4f}".format)
        paired = review.differences.get(key) if path == EVALUATE else None
        rows.append([title, *_pair(old, new, shown, signed), *_tested(paired, signed)])
    return rows


def _classes(review: Review) -> list[list[str]]:
    """The classes that changed most if there are more than MAX_CLASSES, else all in their order."""
    table = review.classes
    if len(table) > MAX_CLASSES:
        table = table.loc[table["difference"].abs().sort_values(ascending=False, kind="stable").index[:MAX_CLASSES]]
    rows = []
    for row in table.to_dict("records"):
        found = Difference(row["difference"], row["low"], row["high"], row["p"])
        pair = _pair(row["old"], row["new"], _percent, _points)
        rows.append([row["class"], row["examples"], *pair, *_tested(found, _points)])
    return rows


def _examples(table: pd.DataFrame) -> dict[str, Any]:
    shown = table.head(SHOWN)
    rows = [[row.id, row.label, row.old, row.new, _percent(row.confidence)] for row in shown.itertuples()]
    return {"count": len(table), "rows": rows}


def _costs(review: Review) -> list[list[str]]:
    def value(side: Side, path: str, key: str) -> float | None:
        return {**side.result.metrics, **side.result.costs}.get(path, {}).get(key)

    rows = []
    for title, (path, key, digits) in _COST.items():
        old, new = (value(side, path, key) for side in (review.old, review.new))
        if old is not None or new is not None:
            ratio = f"{new / old:.2f}" if old and new is not None else ""
            rows.append([title, *("" if one is None else f"{one:,.{digits}f}" for one in (old, new)), ratio])
    return rows


def _over_seeds(side: Side) -> str:
    spread = "" if side.seeds["std"] is None else f" ± {100 * side.seeds['std']:.2f}"
    return f"{_percent(side.seeds['mean'])}{spread} (n = {side.seeds['n']})"


def _pair(old: float | None, new: float | None, shown: Callable, signed: Callable) -> list[str]:
    difference = signed(new - old) if old is not None and new is not None else ""
    return ["" if old is None else shown(old), "" if new is None else shown(new), difference]


def _tested(found: Difference | None, signed: Callable) -> list[str]:
    if not found:
        return ["", ""]
    return [f"{signed(found.low)} to {signed(found.high)}", _p(found.p) + Markup(" \\*" if found.significant else "")]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    lines = [[_escape(_shortened(cell)) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] + ["---:"] * (len(head) - 1))
    return Markup("\n".join(f"| {' | '.join(line)} |" for line in lines))


def _shortened(cell: Any) -> Any:
    return f"{cell[: MAX_CELL - 1]}…" if isinstance(cell, str) and len(cell) > MAX_CELL else cell


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def _points(fraction: float) -> str:
    return f"{round(100 * fraction, 2) + 0:+.2f}"  # + 0: no negative zero


def _p(p: float) -> Markup:
    return Markup("< 0.0001" if p < 0.0001 else f"{p:.2g}")


def _p_relation(p: float) -> Markup:
    return Markup("p ") + (_p(p) if p < 0.0001 else Markup("= ") + _p(p))


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _listed(items: Sequence[Any], show: Callable[[Any], Markup] | None = None) -> Markup:
    shown = ", ".join((show or _escape)(_shortened(str(item))) for item in items[:SHOWN])
    return Markup(shown + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""))


def _code(text: str) -> Markup:
    """A text as code, in which Markdown knows no escapes but that of a table's bar."""
    plain = re.sub(r"[\s`]", " ", text).replace("|", r"\|")
    return Markup(f"`{plain}`")


def _escape(value: Any) -> Markup:
    """A value that is neither HTML nor Markdown; what is marked as safe stays."""
    if isinstance(value, Markup):
        return value
    plain = escaping.escape(re.sub(r"\s", " ", str(value)), quote=False)
    return Markup(re.sub(r"([\\`*_\[\]|~#])", r"\\\1", plain))
