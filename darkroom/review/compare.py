"""The review of a change: what it did to the classifier, and whether that is real.

From tracked files alone: no data, no training, no network. The verdict is of the two models on these test pictures; whether
the change would help again, with another seed, only several trainings of each side can tell (`dvc repro seeds/dvc.yaml`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from darkroom.core.errors import DarkroomError
from darkroom.review import attestation, lock, revision, significance
from darkroom.review.attestation import Standing
from darkroom.review.result import Result
from darkroom.review.significance import Difference

CODE = ("darkroom/", "stages/", "data/", "dvc.yaml", "requirements.txt")  # what a result depends on but the parameters


@dataclass(frozen=True)
class Review:
    """All that there is to say of two results on the same test pictures, the second against the first."""

    old: Result
    new: Result
    verdict: str  # better | worse | within noise: of the accuracy, against the luck of the test pictures
    method: (
        str  # better | worse | within noise | unknown: of the mean accuracy over seeds, against the luck of the seed
    )
    over_seeds: Difference | None
    differences: Mapping[str, Difference]  # by name in metrics/evaluate.json, those that can be paired
    classes: pd.DataFrame  # class, pictures, old, new (accuracies), difference, low, high, p (by Holm's correction)
    fixed: (
        pd.DataFrame
    )  # id, label, old, new (what it was taken for), confidence (of the wrong answer), the surest first
    broken: pd.DataFrame
    code: list[str]  # paths that differ
    stale: Mapping[str, list[str]]  # by the revision's name, where its dvc.lock is not of its files
    stale_seeds: Mapping[
        str, list[str]
    ]  # the same of seeds/dvc.lock, where there are numbers over seeds: these are not used
    attested: tuple[Standing, Standing]  # what the attestations of old and new are worth


def compare(old: Result, new: Result) -> Review:
    """Compares two results; raises DarkroomError where their test pictures or the labels of these differ."""
    _require_same_pictures(old, new)
    labels, (before, after) = (
        old.predictions["label"].to_numpy(),
        (one.predictions["predicted"].to_numpy() for one in (old, new)),
    )
    right = [before == labels, after == labels]
    names, numbers = np.unique([labels, before, after], return_inverse=True)
    differences = {
        "accuracy": significance.accuracy(*right),
        "macro_f1": significance.macro_f1(*numbers.reshape(3, -1), len(names)),
    }
    if "label_probability" in old.predictions and "label_probability" in new.predictions:
        losses = (-np.log(np.maximum(one.predictions["label_probability"], 1e-300)).to_numpy() for one in (old, new))
        differences["calibration.after.loss"] = significance.mean(*losses)
    stale_seeds = {one.revision.name: found for one in (old, new) if one.seeds and (found := _seeds_mismatches(one))}
    old, new = (replace(one, seeds={}) if one.revision.name in stale_seeds else one for one in (old, new))
    stale = {one.revision.name: found for one in (old, new) if (found := lock.mismatches(one.revision))}
    over_seeds = None
    if min(one.seeds.get("n", 0) for one in (old, new)) > 1:
        over_seeds = significance.seeds(*((one.seeds["mean"], one.seeds["std"], one.seeds["n"]) for one in (old, new)))
    return Review(
        old,
        new,
        verdict=_verdict(differences["accuracy"]),
        method=_verdict(over_seeds) if over_seeds else "unknown",
        over_seeds=over_seeds,
        differences=differences,
        classes=_classes(labels, *right),
        fixed=_changed(old, new, ~right[0] & right[1], old),
        broken=_changed(old, new, right[0] & ~right[1], new),
        code=[path for path in revision.changed(old.revision, new.revision) if path.startswith(CODE)],
        stale=stale,
        stale_seeds=stale_seeds,
        attested=tuple(
            attestation.standing(one.revision.read(attestation.FILE), one.revision, stale.get(one.revision.name, ()))
            for one in (old, new)
        ),
    )


def _seeds_mismatches(one: Result) -> list[str]:
    try:
        return lock.mismatches(one.revision, lock.SEEDS)
    except DarkroomError as error:  # numbers without a whole lock may come from anywhere
        return [str(error).rstrip(".")]


def _verdict(difference: Difference) -> str:
    return ("better" if difference.value > 0 else "worse") if difference.real else "within noise"


def _require_same_pictures(old: Result, new: Result) -> None:
    tables = [one.predictions.set_index("id")["label"] for one in (old, new)]
    missing = tables[0].index.symmetric_difference(tables[1].index)
    where = f"{old.revision.name} and {new.revision.name}"
    if len(missing):
        raise DarkroomError(
            f"{where} were tested on different pictures: {len(missing)} are in one test set only, for example {missing[0]}."
        )
    other = tables[0].index[(tables[0] != tables[1]).to_numpy()]
    if len(other):
        raise DarkroomError(
            f"{where} were tested with different labels: {len(other)} pictures are labelled otherwise, for example {other[0]}."
        )


def _classes(labels: np.ndarray, old: np.ndarray, new: np.ndarray) -> pd.DataFrame:
    rows = []
    for name in np.unique(labels):
        own = labels == name
        found = significance.accuracy(old[own], new[own])
        rows.append(
            {
                "class": name,
                "pictures": int(own.sum()),
                "old": old[own].mean(),
                "new": new[own].mean(),
                "difference": found.value,
                **asdict(found),
            }
        )
    table = pd.DataFrame(rows).drop(columns="value")
    return table.assign(p=significance.holm(table["p"].to_numpy()))


def _changed(old: Result, new: Result, chosen: np.ndarray, wrong: Result) -> pd.DataFrame:
    columns = {
        "id": old.predictions["id"],
        "label": old.predictions["label"],
        "old": old.predictions["predicted"],
        "new": new.predictions["predicted"],
    }
    table = pd.DataFrame({**columns, "confidence": wrong.predictions["confidence"]})[chosen]
    return table.sort_values("confidence", ascending=False, kind="stable", ignore_index=True)


def as_json(review: Review) -> dict[str, Any]:
    """The review for programs: plain values."""
    tables = {name: getattr(review, name).to_dict("records") for name in ("classes", "fixed", "broken")}
    return {
        "verdict": review.verdict,
        "method": review.method,
        **{
            side: {"revision": one.revision.name, "commit": one.revision.commit}
            for side, one in (("old", review.old), ("new", review.new))
        },
        "differences": {name: asdict(difference) for name, difference in review.differences.items()},
        "over_seeds": asdict(review.over_seeds) if review.over_seeds else None,
        "metrics": {side: {**one.metrics, **one.costs} for side, one in (("old", review.old), ("new", review.new))},
        "params": {name: {"old": old, "new": new} for name, old, new in changes(review.old.params, review.new.params)},
        "code": review.code,
        "stale": review.stale,
        "stale_seeds": review.stale_seeds,
        "attested": {side: asdict(standing) for side, standing in zip(("old", "new"), review.attested, strict=True)},
        **tables,
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The names whose values differ, with the old and the new one, None where there is none."""
    return [(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]
