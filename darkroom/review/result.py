"""What a revision says of its classifier: the tracked numbers and predictions, read and held to each other."""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.review.revision import Revision

METRICS = tuple(
    f"metrics/{name}.json" for name in ("evaluate", "train", "robustness", "explain", "export", "preprocess")
)
COSTS = tuple(
    f"metrics/cost/{stage}.json"
    for stage in ("fetch", "preprocess", "train", "evaluate", "robustness", "explain", "export")
)
PREDICTIONS, SEEDS = "metrics/predictions.csv", "metrics/seeds.json"


@dataclass(frozen=True)
class Result:
    """The numbers of one revision, by path and dotted name; its predictions, sorted by id; its parameters, by dotted name."""

    revision: Revision
    metrics: Mapping[str, Mapping[str, Any]]  # of METRICS, those that it has
    costs: Mapping[str, Mapping[str, Any]]
    predictions: pd.DataFrame  # id, label, predicted, confidence, and since they are written label_probability
    params: Mapping[str, Any]
    seeds: Mapping[
        str, float
    ]  # mean, std and n of the accuracy over trainings with several seeds; empty where nobody measured


def read(revision: Revision) -> Result:
    """The result of a revision.

    Raises DarkroomError where metrics/evaluate.json or the predictions are missing or broken, where a number is none, or
    where they contradict each other.
    """
    metrics = {path: found for path in METRICS if (found := _numbers(revision, path)) is not None}
    if METRICS[0] not in metrics:
        raise DarkroomError(f"{revision.name} has no {METRICS[0]}: run `dvc repro` there and commit metrics/.")
    predictions = _predictions(revision)
    evaluated = metrics[METRICS[0]]
    right = float((predictions["label"] == predictions["predicted"]).mean())
    if evaluated.get("samples") != len(predictions) or not math.isclose(
        evaluated.get("accuracy") or -1, right, abs_tol=1e-9
    ):
        raise DarkroomError(
            f"{METRICS[0]} of {revision.name} tells of {evaluated.get('samples')} pictures and an accuracy of {evaluated.get('accuracy')}, "
            f"its {PREDICTIONS} of {len(predictions)} and {right:.6g}: one was edited or is of another run; run `dvc repro` and commit both."
        )
    tested = metrics.get(METRICS[-1], {}).get("test", len(predictions))
    if tested != len(predictions):
        raise DarkroomError(
            f"{METRICS[-1]} of {revision.name} tells of {tested} test pictures, its {PREDICTIONS} of {len(predictions)}: "
            "a run ended half-way or was not committed whole; run `dvc repro` and commit both."
        )
    costs = {path: found for path in COSTS if (found := _numbers(revision, path)) is not None}
    return Result(revision, metrics, costs, predictions, flat(_params(revision)), _numbers(revision, SEEDS) or {})


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings, by dotted name."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


def _numbers(revision: Revision, path: str) -> dict[str, Any] | None:
    """The leaves of a JSON file of numbers, by dotted name; None where there is no such file."""
    contents = revision.read(path)
    if contents is None:
        return None
    try:
        leaves = flat(json.loads(contents))
    except (ValueError, AttributeError) as error:
        raise DarkroomError(
            f"{path} of {revision.name} is no JSON of numbers ({error}): run `dvc repro` to make it anew."
        ) from None
    for name, value in leaves.items():
        if not (
            isinstance(value, bool | int | None)
            or (isinstance(value, float) and math.isfinite(value))
            or name.endswith("reason")
        ):
            raise DarkroomError(
                f"{path} of {revision.name} says {name} = {value}, which is no number: run `dvc repro` to make it anew."
            )
    return leaves


def _predictions(revision: Revision) -> pd.DataFrame:
    contents = revision.read(PREDICTIONS)
    if contents is None:
        raise DarkroomError(f"{revision.name} has no {PREDICTIONS}: run `dvc repro` there and commit metrics/.")

    def broken(why: str) -> DarkroomError:
        return DarkroomError(f"{PREDICTIONS} of {revision.name} {why}: run `dvc repro` to make it anew.")

    try:
        rows = list(csv.DictReader(io.StringIO(contents.decode(), newline=""), strict=True))
        table = pd.DataFrame(rows)
        missing = {"id", "label", "predicted", "confidence"} - set(table.columns)
        if missing:
            raise broken(f"has no column {', '.join(sorted(missing))}")
        numbers = [name for name in ("confidence", "label_probability") if name in table]
        table = table.astype(dict.fromkeys(numbers, float))
    except (ValueError, TypeError, csv.Error) as error:
        raise broken(f"cannot be read ({error})") from None
    if table.isna().any(axis=None) or not np.isfinite(table[numbers]).all(axis=None):
        raise broken("has rows with something missing")
    twice = table["id"][table["id"].duplicated()]
    if len(twice):
        raise broken(f"names {twice.iloc[0]} twice")
    return table.sort_values("id", ignore_index=True)


def _params(revision: Revision) -> dict[str, Any]:
    try:
        return dict(yaml.load(revision.read(str(params.PATH)) or b"{}", params.Loader))  # a SafeLoader
    except (yaml.YAMLError, DarkroomError, TypeError, ValueError) as error:
        raise DarkroomError(f"{params.PATH} of {revision.name} cannot be read ({error}): put it right.") from None
