"""Compare two results: what a change did to the classifier, and whether the difference is real.

It uses tracked files only: no data, no training, no network. The verdict is about these two models on these test
examples. Whether the change would help with another seed needs several trainings of each side (`darkroom.seeds`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.review import attestation, lock, revision, significance
from darkroom.review.attestation import Standing
from darkroom.review.lock import Finding
from darkroom.review.result import Result
from darkroom.review.revision import Revision
from darkroom.review.significance import Difference

CODE = ("darkroom/", "stages/", "data/", "requirements/", "dvc.yaml")  # what a result depends on besides parameters


@dataclass(frozen=True)
class Side:
    """One of the two results, and how far it can be trusted."""

    result: Result
    stale: Sequence[Finding]  # what its dvc.lock and its files disagree about
    seeds: Mapping[str, Any]  # mean, std and n of the accuracy over seeds; empty if not measured or stale
    seeds_stale: bool  # whether metrics/seeds.json belongs to another recipe than dvc.lock
    attested: Standing

    @property
    def revision(self) -> Revision:
        """The revision of the result."""
        return self.result.revision


@dataclass(frozen=True)
class Review:
    """Everything that the review says about two results on the same test examples: `new` against `old`."""

    old: Side
    new: Side
    verdict: str  # better | worse | within noise: the accuracy, against chance over test examples
    method: str  # better | worse | within noise | unknown: the mean accuracy over seeds, against chance over seeds
    over_seeds: Difference | None
    differences: Mapping[str, Difference]  # by key in metrics/evaluate.json, those that can be paired
    classes: pd.DataFrame  # class, examples, old, new (accuracies), difference, low, high, p (Holm-adjusted)
    corruptions: pd.DataFrame  # corruption, old, new (mean accuracy over the severities that both measured)
    fixed: pd.DataFrame  # id, label, old, new (predictions), confidence (of the incorrect one), in falling order of it
    broken: pd.DataFrame
    code: Sequence[str]  # paths of code and data that differ


def compare(old: Result, new: Result) -> Review:
    """Compare two results. Raises DarkroomError if their test examples or the labels of these differ."""
    _require_same_examples(old, new)
    labels = old.predictions["label"].to_numpy()
    before, after = (one.predictions["predicted"].to_numpy() for one in (old, new))
    correct = [before == labels, after == labels]
    names, numbers = np.unique([labels, before, after], return_inverse=True)
    differences = {
        "accuracy": significance.accuracy(*correct),
        "macro_f1": significance.macro_f1(*numbers.reshape(3, -1), len(names)),
    }
    if "label_probability" in old.predictions and "label_probability" in new.predictions:
        losses = (-np.log(np.maximum(one.predictions["label_probability"], 1e-300)).to_numpy() for one in (old, new))
        differences["loss_calibrated"] = significance.mean(*losses)
    sides = [_side(one) for one in (old, new)]
    over_seeds = None
    if min(side.seeds.get("n", 0) for side in sides) > 1:
        over_seeds = significance.seeds(*((side.seeds["mean"], side.seeds["std"], side.seeds["n"]) for side in sides))
    return Review(
        *sides,
        verdict=_verdict(differences["accuracy"]),
        method=_verdict(over_seeds) if over_seeds else "unknown",
        over_seeds=over_seeds,
        differences=differences,
        classes=_classes(labels, *correct),
        corruptions=_corruptions(old, new),
        fixed=_changed(old, new, ~correct[0] & correct[1], old),
        broken=_changed(old, new, correct[0] & ~correct[1], new),
        code=[path for path in revision.changed(old.revision, new.revision) if path.startswith(CODE)],
    )


def _side(result: Result) -> Side:
    stale = lock.mismatches(result.revision)
    seeds_stale = bool(result.seeds) and not _is_recipe(result)
    attested = attestation.standing(result.revision.read(attestation.FILE), result.revision, stale)
    return Side(result, stale, {} if seeds_stale else result.seeds, seeds_stale, attested)


def _is_recipe(result: Result) -> bool:
    """Whether the numbers over seeds belong to the recipe of dvc.lock."""
    try:
        return result.seeds.get("recipe") == lock.recipe(result.revision)
    except DarkroomError:  # there was no training
        return False


def _verdict(difference: Difference) -> str:
    return ("better" if difference.value > 0 else "worse") if difference.significant else "within noise"


def _require_same_examples(old: Result, new: Result) -> None:
    tables = [one.predictions.set_index("id")["label"] for one in (old, new)]
    missing = tables[0].index.symmetric_difference(tables[1].index)
    where = f"{old.revision.name} and {new.revision.name}"
    if len(missing):
        raise DarkroomError(
            f"{where} were tested on different examples, so they cannot be compared: "
            f"{counted(len(missing), 'example')} in only one of the test sets, for example {missing[0]}."
        )
    other = tables[0].index[(tables[0] != tables[1]).to_numpy()]
    if len(other):
        raise DarkroomError(
            f"{where} were tested with different labels, so they cannot be compared: "
            f"{counted(len(other), 'other label')}, for example that of {other[0]}."
        )


def _classes(labels: np.ndarray, old: np.ndarray, new: np.ndarray) -> pd.DataFrame:
    rows = []
    for name in np.unique(labels):
        own = labels == name
        found = significance.accuracy(old[own], new[own])
        accuracies = {"old": old[own].mean(), "new": new[own].mean(), "difference": found.value}
        rows.append({"class": name, "examples": int(own.sum()), **accuracies, **asdict(found)})
    table = pd.DataFrame(rows).drop(columns="value")
    return table.assign(p=significance.holm(table["p"].to_numpy()))


def _corruptions(old: Result, new: Result) -> pd.DataFrame:
    both = old.corruptions.merge(new.corruptions, on=["corruption", "severity"], suffixes=("_old", "_new"))
    both = both.rename(columns={"accuracy_old": "old", "accuracy_new": "new"})
    return both.groupby("corruption", sort=False, as_index=False)[["old", "new"]].mean()


def _changed(old: Result, new: Result, chosen: np.ndarray, incorrect: Result) -> pd.DataFrame:
    table = old.predictions[["id", "label"]].assign(
        old=old.predictions["predicted"],
        new=new.predictions["predicted"],
        confidence=incorrect.predictions["confidence"],
    )
    return table[chosen].sort_values("confidence", ascending=False, kind="stable", ignore_index=True)


def as_json(review: Review) -> dict[str, Any]:
    """The review for programs, as plain values."""
    sides = {"old": review.old, "new": review.new}
    tables = ("classes", "corruptions", "fixed", "broken")
    return {
        "verdict": review.verdict,
        "method": review.method,
        **{name: {"revision": side.revision.name, "commit": side.revision.commit} for name, side in sides.items()},
        "differences": {name: asdict(difference) for name, difference in review.differences.items()},
        "over_seeds": asdict(review.over_seeds) if review.over_seeds else None,
        "metrics": {name: {**side.result.metrics, **side.result.costs} for name, side in sides.items()},
        "params": {
            name: {"old": old, "new": new}
            for name, old, new in changes(review.old.result.params, review.new.result.params)
        },
        "code": review.code,
        "stale": {name: [asdict(finding) for finding in side.stale] for name, side in sides.items()},
        "seeds_stale": {name: side.seeds_stale for name, side in sides.items()},
        "attested": {name: side.attested.as_json() for name, side in sides.items()},
        **{name: getattr(review, name).to_dict("records") for name in tables},
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The keys whose values differ, with the old and the new value; None if there is none."""
    return [(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]
