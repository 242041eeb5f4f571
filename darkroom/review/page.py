"""The review for people: Markdown that fits a comment on a pull request, and one HTML page that needs no network."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from darkroom.core.spelling import confusion
from darkroom.review import cells, curves, lock, recommended
from darkroom.review.attestation import State
from darkroom.review.cells import SHOWN, pair, percent, points, tested
from darkroom.review.compare import SAME, Review, Side, changes
from darkroom.review.result import DATA, EVALUATE, EXPORT, ROBUSTNESS, SCORES, TRAIN
from darkroom.review.significance import LEVEL, POWER, Difference
from darkroom.review.thumbnails import thumbnails

MAX_CLASSES = 20
IN_TITLE = 3  # classes or slices that became worse

_QUALITY = {  # rows, with an arrow if lower is better: file, key, whether it is a fraction
    "accuracy": (EVALUATE, "accuracy", True),
    "HR@10": (EVALUATE, "hr_at_10", True),
    "NDCG@10": (EVALUATE, "ndcg_at_10", False),
    "mean reciprocal rank": (EVALUATE, "mrr", False),
    "HR@1": (EVALUATE, "hr_at_1", True),
    "HR@5": (EVALUATE, "hr_at_5", True),
    "HR@20": (EVALUATE, "hr_at_20", True),
    "coverage of the items, first 10": (EVALUATE, "coverage_at_10", True),
    "training events of recommended items": (EVALUATE, "popularity_at_10", False),
    "macro F1": (EVALUATE, "macro_f1", True),
    "balanced accuracy": (EVALUATE, "balanced_accuracy", True),
    "Matthews correlation": (EVALUATE, "matthews_correlation", False),
    "ROC AUC, one-vs-rest": (EVALUATE, "roc_auc", False),
    "average precision": (EVALUATE, "average_precision", False),
    "average precision of the positive class": (EVALUATE, "pr_auc", False),
    "Kolmogorov-Smirnov": (EVALUATE, "ks", False),
    "cost of decisions ↓": (EVALUATE, "cost", False),
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
    "ROC AUC under corruptions": (ROBUSTNESS, "mean_roc_auc", True),
    "ROC AUC under the worst corruption": (ROBUSTNESS, "worst_corruption_roc_auc", True),
    "HR@10 under corruptions": (ROBUSTNESS, "mean_hr_at_10", True),
    "HR@10 under the worst corruption": (ROBUSTNESS, "worst_corruption_hr_at_10", True),
    "mean corruption error ↓": (ROBUSTNESS, "mean_corruption_error", True),
    "accuracy of the int8 model": (EXPORT, "int8_accuracy", True),
    "validation accuracy": (TRAIN, "val_accuracy", True),
    "accuracy of the teacher": (TRAIN, "teacher_accuracy", True),
}
_OF_CLASSIFIERS = ("accuracy", "mean_accuracy", "worst_corruption_accuracy")  # of recommendations HR@1, said better
_COST = {  # rows: file, key, digits
    "training, seconds": ("metrics/cost/train.json", "training_seconds", 1),
    "peak memory of training, MB": ("metrics/cost/train.json", "peak_memory_mb", 0),
    "parameters": (TRAIN, "parameters", 0),
    "FLOPs per image": (TRAIN, "flops_per_image", 0),
    "size of the bundle, MB": (EXPORT, "size_mb", 2),
    "latency per image, ms": ("metrics/cost/export.json", "latency_ms", 2),
}


def title(review: Review) -> str:
    """Both verdicts, and what became worse."""
    if review.same_numbers:
        return "The same"
    if review.recipe_verdict == SAME:
        return f"The same predictions{', other numbers' if review.common.is_all else ' for the common test examples'}"
    parts = [f"Recipe: {review.recipe_verdict}", f"model: {review.model_verdict}"]
    parts += [f"worse {name}: {worse}" for name, worse in _worse(review, IN_TITLE).items()]
    return " · ".join(parts)


def markdown(review: Review, folded: bool = True, images: Mapping[str, str] | None = None) -> str:
    """The review as GitHub's Markdown, the verdicts first; the lists of examples are collapsed if `folded`.

    `images` holds thumbnails of examples, by id, as `data:` URIs.
    """
    sides = review.old, review.new
    text = (
        _environment()
        .get_template("review.md.jinja")
        .render(
            review=review,
            title=title(review),
            measure=recommended.NAME if review.common.is_ranked else "accuracy",
            metric=recommended.NAME if review.common.is_ranked else "Accuracy",  # at the start of a sentence
            worse=_worse(review, SHOWN),
            changes=_changes(review),
            quality=_quality(review),
            classes=_subsets(review.classes, MAX_CLASSES),
            slices=_subsets(review.slices, MAX_CLASSES),
            teachers=[(side.revision.name, side.result.params.get("train.distill.teacher", "none")) for side in sides],
            confused_pairs=[
                [confusion(row.label, row.predicted), row.old, row.new, f"{row.new - row.old:+d}"]
                for row in review.confused_pairs.head(SHOWN).itertuples()
            ],
            corruption_score=SCORES[review.corruptions["score"].iloc[0]] if len(review.corruptions) else "",
            corruptions=[
                [row.corruption, row.severities, *pair(row.old, row.new, percent, points)]
                for row in review.corruptions.itertuples()
            ],
            examples={name: _examples(getattr(review, name), images or {}) for name in ("fixed", "broken")},
            costs=_costs(review),
            outdated=[
                *(f"the seeds of {side.revision.name}" for side in sides if side.seeds_stale),
                *(f"the attestation of {side.revision.name}" for side in sides if _is_outdated(side)),
            ],
            attested=[side for side in sides if not _is_outdated(side)],
            folded=folded,
        )
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def html(review: Review) -> str:
    """The review as an HTML page."""
    sides = [side.revision for side in (review.old, review.new)]
    images = thumbnails(sides, [name for table in (review.fixed, review.broken) for name in table["id"].head(SHOWN)])
    text = markdown(review, folded=False, images=images)
    body = Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))
    drawn = Markup("" if review.same_numbers else curves.svg(*map(curves.read, sides)))
    template = _environment(finalize=None).get_template("review.html.jinja")
    return template.render(title=title(review), body=body, curves=drawn)


def _environment(**settings: Any) -> Environment:
    """Templates in which each value is escaped as Markdown, since revisions and classes may have any name."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **{"finalize": cells.escape, **settings},
    )
    environment.filters |= {"percent": percent, "points": points, "p_value": cells.p_relation, "listed": cells.listed}
    environment.filters |= {"grouped": lock.grouped}
    environment.globals |= {"table": cells.table, "code": cells.code, "over_seeds": _over_seeds}
    environment.globals |= {"LEVEL": LEVEL, "POWER": POWER, "SHOWN": SHOWN, "MAX_CLASSES": MAX_CLASSES}
    return environment


def _is_outdated(side: Side) -> bool:
    return side.attested.state in (State.OTHER_LOCK, State.STALE_LOCK)


def _worse(review: Review, most: int) -> dict[str, Markup]:
    """What became significantly worse, by kind; kinds of which nothing did are left out."""
    listed = {}
    for name, table in review.worse.items():
        slice_of = table["column"] + " = " if name == "slices" else ""
        names = slice_of + table["value"]
        rows = [f"{name} {points(change)}" for name, change in zip(names, table["difference"], strict=True)]
        if rows:
            listed[name if len(rows) > 1 else {"classes": "class", "slices": "slice"}[name]] = rows
    return {name: cells.listed(rows, most=most) for name, rows in listed.items()}


def _changes(review: Review) -> list[list[Any]]:
    """Parameters, then facts about the data, that differ."""
    params = changes(review.old.result.params, review.new.result.params)
    data = changes(*(side.result.metrics.get(DATA, {}) for side in (review.old, review.new)))
    rows = [(cells.code(cells.shortened(name)), old, new) for name, old, new in params]
    rows += [(f"data: {name}", old, new) for name, old, new in data]
    return [[name, *("" if value is None else cells.value(value) for value in values)] for name, *values in rows]


def _quality(review: Review) -> list[list[str]]:
    rows = []
    paired = review.secondary if review.common.is_all else {}
    for name, (path, key, is_fraction) in _QUALITY.items():
        old, new = (side.result.metrics.get(path, {}).get(key) for side in (review.old, review.new))
        if (old is None and new is None) or (review.common.is_ranked and key in _OF_CLASSIFIERS):
            continue
        shown, signed = (percent, points) if is_fraction else ("{:.4f}".format, "{:+.4f}".format)
        if key == review.primary:
            numbers, found = pair(*review.accuracies, shown, signed), review.model
        else:
            numbers, found = pair(old, new, shown, signed), paired.get(key) if path == EVALUATE else None
        if path == ROBUSTNESS and review.unshared:
            numbers[2] = ""  # means over other severities
        rows.append([name, *numbers, *tested(found, signed)])
    return rows


def _subsets(table: pd.DataFrame, most: int) -> list[list[str]]:
    """The classes or slices that changed most if there are more than `most`, else all in their order."""
    if len(table) > most:
        table = table.loc[table["difference"].abs().sort_values(ascending=False, kind="stable").index[:most]]
    rows = []
    for row in table.to_dict("records"):
        found = Difference(row["difference"], row["low"], row["high"], row["p"])
        name = f"{row['column']} = {row['value']}" if "column" in row else row["value"]
        rows.append([name, row["examples"], *pair(row["old"], row["new"], percent, points), *tested(found, points)])
    return rows


def _examples(table: pd.DataFrame, images: Mapping[str, str]) -> dict[str, Any]:
    shown = "rank" if table["old"].dtype.kind in "fi" else "prediction"
    head = ["id", "label", f"old {shown}", f"new {shown}", "confidence of the incorrect one"]
    shown = table.head(SHOWN)
    rows = [[row.id, row.label, row.old, row.new, percent(row.confidence)] for row in shown.itertuples()]
    if any(name in images for name in shown["id"]):
        head = ["", *head]
        rows = [[Markup(f"![]({images[row[0]]})" if row[0] in images else ""), *row] for row in rows]
    return {"count": len(table), "head": head, "rows": rows}


def _costs(review: Review) -> list[list[str]]:
    def value(side: Side, path: str, key: str) -> float | None:
        return {**side.result.metrics, **side.result.costs}.get(path, {}).get(key)

    rows = []
    for name, (path, key, digits) in _COST.items():
        old, new = (value(side, path, key) for side in (review.old, review.new))
        if old is not None or new is not None:
            ratio = f"{new / old:.2f}" if old and new is not None else ""
            rows.append([name, *("" if one is None else f"{one:,.{digits}f}" for one in (old, new)), ratio])
    return rows


def _over_seeds(side: Side) -> str:
    spread = "" if side.seeds["std"] is None else f" ± {100 * side.seeds['std']:.2f}"
    return f"{percent(side.seeds['mean'])}{spread} (n = {side.seeds['n']})"
