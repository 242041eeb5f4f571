"""Compare two results: what a change did to the classifier, and whether the difference is real.

It uses tracked files only: no data, no training, no network. There are two verdicts: whether these two models differ on
their common test examples, and whether the recipes do, so that training again would show it too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from darkroom.core.errors import DarkroomError
from darkroom.review import (
    attestation,
    breakdown,
    confused_pairs,
    lock,
    more_labels,
    noise,
    ranking,
    recommended,
    revision,
    significance,
)
from darkroom.review.attestation import Standing, State
from darkroom.review.common import Common
from darkroom.review.common import find as find_common
from darkroom.review.lock import Finding
from darkroom.review.more_labels import MoreLabels
from darkroom.review.noise import Noise
from darkroom.review.recommended import RANK
from darkroom.review.result import PROBABILITY, Result
from darkroom.review.revision import Revision
from darkroom.review.significance import Difference, Recipe
from darkroom.statistics.multiple import holm

SAME = "the same"
RESULTS = ("metrics/", "models/", "params.yaml", "dvc.lock")  # what the review compares by its contents
CODE = ("darkroom/", "stages/", "data/", "requirements/", "dvc.yaml")  # what a result depends on besides parameters


@dataclass(frozen=True)
class Side:
    """One of the two results, and how far it can be trusted."""

    result: Result
    stale: Sequence[Finding]  # what its dvc.lock and its files disagree about
    seeds: Mapping[str, Any]  # mean, std and n of the primary metric over seeds; empty if not measured or stale
    seeds_stale: bool  # whether metrics/seeds.json belongs to another recipe than dvc.lock
    attested: Standing

    @property
    def revision(self) -> Revision:
        """The revision of the result."""
        return self.result.revision


@dataclass(frozen=True)
class Review:
    """Everything that the review says about two results, `new` against `old`, on their common test examples."""

    old: Side
    new: Side
    common: Common
    accuracies: tuple[float, float]  # on the common examples
    model: Difference  # the primary metric of these two models: accuracy, or HR@10 of recommendations
    recipe: Recipe  # the same over retrainings
    noise: Noise  # where the noise of a retraining comes from
    secondary: Mapping[str, Difference]  # of the models, by key in metrics/evaluate.json; p is Holm-adjusted for these
    same_predictions: bool
    same_numbers: bool  # and the same confidences and metrics
    reason: str  # why numbers differ although code, data and parameters are the same; "" if these differ
    classes: pd.DataFrame  # see breakdown.by
    slices: pd.DataFrame  # see breakdown.slices
    confused_pairs: pd.DataFrame  # label, predicted, old, new (counts): of those that changed, the most changed first
    corruptions: pd.DataFrame  # see breakdown.corruptions
    unshared: Sequence[str]  # corruptions and severities that one side alone measured
    fixed: pd.DataFrame  # id, label, old, new (predictions), confidence (of the incorrect one), in falling order of it
    broken: pd.DataFrame
    code: Sequence[str]  # paths of code and data that differ
    other: Sequence[str]  # paths of other inputs that differ, such as documentation: no results
    more_labels: MoreLabels | None  # what twice the labels would bring to the new side, if that was measured

    @property
    def primary(self) -> str:
        """The key of the primary metric in metrics/evaluate.json."""
        return recommended.KEY if self.common.is_ranked else "accuracy"

    @property
    def model_verdict(self) -> str:
        """better, worse, within noise or the same."""
        return SAME if self.same_predictions else self.model.verdict

    @property
    def recipe_verdict(self) -> str:
        """better, worse, within noise or the same."""
        return SAME if self.same_predictions and not all(self.noise.seeds) else self.recipe.verdict

    @property
    def worse(self) -> Mapping[str, pd.DataFrame]:
        """The classes and the slices that became significantly worse."""
        return {name: breakdown.significant(getattr(self, name), better=False) for name in ("classes", "slices")}


def compare(old: Result, new: Result) -> Review:
    """Compare two results. Raises DarkroomError if they have no test examples in common, or mostly other labels."""
    common = find_common(old, new)
    labels, groups = common.labels, common.groups
    before, after = (one["predicted"].to_numpy() for one in (common.old, common.new))
    correct = common.correct
    sides = [_side(one) for one in (old, new)]
    found = noise.find(old, new, [noise.of(side.seeds) if side.seeds else None for side in sides], common)
    retrained = not found.same_weights
    changed = revision.changed(old.revision, new.revision)
    code = [path for path in changed if path.startswith(CODE)]
    same = common.is_same
    same_numbers = same and common.is_all and not common.renamed and _same_numbers(old, new)
    return Review(
        *sides,
        common=common,
        accuracies=tuple(float(one.mean()) for one in correct),
        model=significance.accuracy(*correct, groups),
        recipe=found.compare(*correct, groups),
        noise=found,
        secondary=_secondary(common, before, after),
        same_predictions=same,
        same_numbers=same_numbers,
        reason="" if same_numbers or code or not _same_inputs(*sides) else _machines(*sides),
        # Items have few examples each, and all confuse each other
        classes=breakdown.nothing() if common.is_ranked else breakdown.by(labels, *correct, groups, retrained),
        slices=breakdown.slices(common.new[common.slices], *correct, groups, retrained),
        confused_pairs=confused_pairs.changes(labels, before, after).iloc[: 0 if common.is_ranked else None],
        corruptions=breakdown.corruptions(old.corruptions, new.corruptions),
        unshared=breakdown.unshared(old.corruptions, new.corruptions) if len(old.corruptions) else [],
        fixed=_changed(common, ~correct[0] & correct[1], common.old),
        broken=_changed(common, correct[0] & ~correct[1], common.new),
        code=code,
        other=[path for path in changed if not path.startswith((*CODE, *RESULTS))],
        more_labels=more_labels.find(new.revision),
    )


def _side(result: Result) -> Side:
    stale = lock.mismatches(result.revision)
    seeds_stale = bool(result.seeds) and not _is_recipe(result)
    attested = attestation.standing(result.revision.read(attestation.FILE), result.revision, stale)
    return Side(result, stale, {} if seeds_stale else result.seeds, seeds_stale, attested)


def _is_recipe(result: Result) -> bool:
    """Whether the numbers over seeds belong to the recipe of dvc.lock, and of histories to the same ranking."""
    ranked = result.params.get("evaluate.seen_items")
    if result.seeds.get("seen_items", ranked) != ranked:
        return False
    try:
        return result.seeds.get("recipe") == lock.recipe(result.revision)
    except DarkroomError:  # there was no training
        return False


def _secondary(common: Common, old: np.ndarray, new: np.ndarray) -> dict[str, Difference]:
    """Differences of the other paired metrics, whose p-values are adjusted for each other."""
    numbers = np.unique([common.labels, old, new], return_inverse=True)[1].reshape(3, -1)
    if common.is_ranked:
        found = recommended.secondary(common.old, common.new, common.groups)
    else:
        found = {"macro_f1": significance.macro_f1(*numbers, common.groups)}
    if PROBABILITY in common.old and PROBABILITY in common.new:
        kept = ~common.relabelled  # the old probability of a relabelled example is that of its old label
        losses = (-np.log(np.maximum(one[PROBABILITY], 1e-300)).to_numpy()[kept] for one in (common.old, common.new))
        groups = None if common.groups is None else common.groups[kept]
        found["loss_calibrated"] = significance.mean(*losses, groups)
        if len(classes := np.unique(common.labels[kept])) == 2 and not common.is_ranked:
            is_positive = common.labels[kept] == classes[1]
            given = (one[PROBABILITY].to_numpy()[kept] for one in (common.old, common.new))
            scores = (np.where(is_positive, one, 1 - one) for one in given)
            if (areas := ranking.difference(is_positive, *scores, groups)) is not None:
                found["roc_auc"] = areas
    adjusted = holm(np.array([one.p for one in found.values()]))
    return {name: replace(one, p=float(p)) for (name, one), p in zip(found.items(), adjusted, strict=True)}


def _same_numbers(old: Result, new: Result) -> bool:
    tables = ("predictions", "corruptions")
    return old.metrics == new.metrics and all(getattr(old, name).equals(getattr(new, name)) for name in tables)


def _same_inputs(old: Side, new: Side) -> bool:
    """Whether parameters and data are the same, by params.yaml and dvc.lock, and both locks are current."""
    if old.stale or new.stale or old.result.params != new.result.params:
        return False
    inputs = []
    for side in (old, new):
        stages = lock.stages(side.revision).values()
        made = {entry["path"] for stage in stages for entry in stage.get("outs", ())}
        read = {entry["path"]: entry.get("md5") for stage in stages for entry in stage.get("deps", ())}
        inputs.append({path: digest for path, digest in read.items() if path not in made})
    return inputs[0] == inputs[1]


def _machines(old: Side, new: Side) -> str:
    """What the attestations say of the machines of two results that differ in nothing else."""
    known = [
        side.attested.attested for side in (old, new) if side.attested.state in (State.REPRODUCED, State.DIFFERENT)
    ]
    if len(known) < 2:
        return "another machine, another number of threads or other library versions"
    machines = [one.machine.model_dump() for one in known]
    differing = [key for key in machines[0] if key != "features" and machines[0][key] != machines[1][key]]
    parts = [f"another {key} ({machines[1][key]} instead of {machines[0][key]})" for key in differing]
    versions = [one.versions for one in known]
    others = [name for name in versions[0] if versions[0][name] != versions[1].get(name)]
    parts += [f"another version of {', '.join(others)}"] if others else []
    return " and ".join(parts) or "training that is not reproducible on this machine"


def _changed(common: Common, chosen: np.ndarray, incorrect: pd.DataFrame) -> pd.DataFrame:
    before, after = (
        one[RANK].astype(int) if common.is_ranked else one["predicted"] for one in (common.old, common.new)
    )
    table = common.new[["id", "label"]].assign(old=before, new=after, confidence=incorrect["confidence"])
    return table[chosen].sort_values("confidence", ascending=False, kind="stable", ignore_index=True)


def as_json(review: Review) -> dict[str, Any]:
    """The review for programs, as plain values."""
    sides = {"old": review.old, "new": review.new}
    tables = ("classes", "slices", "confused_pairs", "corruptions", "fixed", "broken")
    common = review.common
    accuracies = dict(zip(sides, review.accuracies, strict=True))
    return {
        "verdict": review.recipe_verdict,
        "metric": review.primary,
        "recipe": {"verdict": review.recipe_verdict, **asdict(review.recipe), "source": review.noise.source},
        "model": {"verdict": review.model_verdict, **accuracies, **asdict(review.model)},
        "worse": {
            name: table[[key for key in ("column", "value") if key in table]].to_dict("records")
            for name, table in review.worse.items()
        },
        **{name: {"revision": side.revision.name, "commit": side.revision.commit} for name, side in sides.items()},
        "examples": {
            "common": len(common.new),
            "only_old": common.only_old,
            "only_new": common.only_new,
            "relabelled": int(common.relabelled.sum()),
            "renamed": dict(common.renamed),
        },
        "same_numbers": review.same_numbers,
        "reason": review.reason,
        "secondary": {name: asdict(difference) for name, difference in review.secondary.items()},
        "metrics": {name: {**side.result.metrics, **side.result.costs} for name, side in sides.items()},
        "params": {
            name: {"old": old, "new": new}
            for name, old, new in changes(review.old.result.params, review.new.result.params)
        },
        "code": review.code,
        "other": review.other,
        "unshared": review.unshared,
        "more_labels": asdict(review.more_labels) if review.more_labels else None,
        "stale": {name: [asdict(finding) for finding in side.stale] for name, side in sides.items()},
        "seeds": {name: dict(side.seeds) for name, side in sides.items()},
        "seeds_stale": {name: side.seeds_stale for name, side in sides.items()},
        "attested": {name: side.attested.as_json() for name, side in sides.items()},
        **{name: getattr(review, name).to_dict("records") for name in tables},
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The keys whose values differ, with the old and the new value; None if there is none."""
    return [(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]
