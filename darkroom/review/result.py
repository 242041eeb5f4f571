"""Read the tracked numbers and predictions of a revision, and check them against each other."""

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.review import recommended
from darkroom.review.recommended import FIRST, RANK
from darkroom.review.revision import Revision

EVALUATE, TRAIN, ROBUSTNESS, EXPORT, DATA = (
    f"metrics/{name}.json" for name in ("evaluate", "train", "robustness", "export", "preprocess")
)
METRICS = (EVALUATE, TRAIN, ROBUSTNESS, "metrics/explain.json", EXPORT, DATA)
COSTS = "metrics/cost"  # a folder with one file per stage
PREDICTIONS, CORRUPTIONS = "metrics/predictions.csv", "metrics/robustness/corruptions.csv"
SEEDS = "metrics/seeds.json"
PROBABILITY, GROUP = "label_probability", "group"  # columns of the predictions
# Of corrupted inputs; the last that was measured says most. Names for people.
SCORES = {"accuracy": "accuracy", "roc_auc": "ROC AUC", recommended.KEY: recommended.NAME}
_TEXTS = re.compile("recipe$|reason$|_md5$|^most_faithful_|^seen_items$")  # the keys whose values are texts


@dataclass(frozen=True)
class Result:
    """The numbers of one revision by file and dotted key, and its predictions and parameters."""

    revision: Revision
    metrics: Mapping[str, Mapping[str, Any]]  # the files of METRICS that exist
    costs: Mapping[str, Mapping[str, Any]]  # the files in COSTS
    # id, label, predicted, confidence, PROBABILITY, GROUP and RANK if known, slices; sorted by id
    predictions: pd.DataFrame
    corruptions: pd.DataFrame  # corruption, severity, and of SCORES what was measured; no rows without such a file
    params: Mapping[str, Any]
    seeds: Mapping[str, Any]  # mean, std and n of the primary metric over seeds, and what they belong to; empty if none


def read(revision: Revision) -> Result:
    """The result of a revision.

    Raises DarkroomError if metrics/evaluate.json or the predictions are missing or broken, if a value is not a finite
    number, or if they contradict each other.
    """
    metrics = {path: found for path in METRICS if (found := numbers(revision, path)) is not None}
    if EVALUATE not in metrics:
        raise DarkroomError(f"{EVALUATE} is missing in {revision.name}: run `dvc repro` there and commit metrics/.")
    optional = [PROBABILITY, RANK]
    predictions = _csv(revision, PREDICTIONS, ["id", "label", "predicted"], ["confidence", *optional], optional)
    if predictions is None:
        raise DarkroomError(f"{PREDICTIONS} is missing in {revision.name}: run `dvc repro` there and commit metrics/.")
    twice = predictions["id"][predictions["id"].duplicated()]
    if len(twice):
        raise DarkroomError(f"{PREDICTIONS} of {revision.name} has duplicate ids ({twice.iloc[0]}): run `dvc repro`.")
    _require_same_run(revision, metrics, predictions)
    seeds = numbers(revision, SEEDS) or {}
    if seeds and (None in (seeds.get("mean"), seeds.get("n")) or (seeds.get("std") is None and seeds["n"] != 1)):
        raise DarkroomError(f"{SEEDS} of {revision.name} needs mean, std and n: run `python -m darkroom.seeds` again.")
    corruptions = _csv(revision, CORRUPTIONS, ["corruption", "severity"], [*SCORES], [*SCORES][1:])
    return Result(
        revision,
        metrics,
        {path: found for path in revision.files(COSTS) if (found := numbers(revision, path)) is not None},
        predictions.sort_values("id", ignore_index=True),
        pd.DataFrame(columns=["corruption", "severity", "accuracy"]) if corruptions is None else corruptions,
        parameters(revision),
        seeds,
    )


def _require_same_run(revision: Revision, metrics: Mapping[str, Mapping], predictions: pd.DataFrame) -> None:
    evaluated, rows = metrics[EVALUATE], len(predictions)
    if RANK in predictions:
        _require_same_hits(revision, evaluated, predictions)
    accuracy = float((predictions["label"] == predictions["predicted"]).mean())
    said = evaluated.get("accuracy")
    if evaluated.get("samples") != rows or not math.isclose(-1 if said is None else said, accuracy, abs_tol=1e-9):
        raise DarkroomError(
            f"{EVALUATE} and {PREDICTIONS} of {revision.name} contradict each other: {evaluated.get('samples')} "
            f"samples with accuracy {said}, but {counted(rows, 'row')} with accuracy {accuracy:.6g}. One was edited or "
            "is of another run: run `dvc repro` and commit both."
        )
    tested = metrics.get(DATA, {}).get("test", rows)
    if tested != rows:
        raise DarkroomError(
            f"{DATA} and {PREDICTIONS} of {revision.name} contradict each other: "
            f"{counted(tested, 'test example')}, but {counted(rows, 'row')}. A run failed, or only part of it was "
            "committed: run `dvc repro` and commit all of metrics/."
        )


def _require_same_hits(revision: Revision, evaluated: Mapping[str, Any], predictions: pd.DataFrame) -> None:
    said, found = evaluated.get(recommended.KEY), float(recommended.hits(predictions).mean())
    if said is None or not math.isclose(said, found, abs_tol=1e-9):
        raise DarkroomError(
            f"{EVALUATE} and {PREDICTIONS} of {revision.name} contradict each other: {recommended.KEY} is {said}, but "
            f"{found:.6g} by the ranks. One was edited or is of another run: run `dvc repro` and commit both."
        )


def numbers(revision: Revision, path: str) -> dict[str, Any] | None:
    """The leaves of a JSON file of numbers, by dotted key; None if there is no such file."""
    contents = revision.read(path)
    if contents is None:
        return None
    try:
        leaves = params.flat(json.loads(contents))
    except (ValueError, AttributeError) as error:
        raise DarkroomError(
            f"{path} of {revision.name} is not a JSON object of numbers ({error}): run `dvc repro`."
        ) from None
    for key, value in leaves.items():
        number = isinstance(value, bool | int | None) or (isinstance(value, float) and math.isfinite(value))
        if not number and not (isinstance(value, str) and _TEXTS.search(key)):
            raise DarkroomError(f"{path} of {revision.name}: {key} = {value} is not a finite number: run `dvc repro`.")
    return leaves


def _csv(
    revision: Revision, path: str, needed: Sequence[str], numeric: Sequence[str], optional: Sequence[str] = ()
) -> pd.DataFrame | None:
    """All columns of a CSV file, those of `numeric` as numbers; None if the file is missing.

    Raises DarkroomError if a column of `needed` is missing or has an empty cell, a row has another length, or a number
    is not finite.
    """
    contents = revision.read(path)
    if contents is None:
        return None

    def broken(why: str) -> DarkroomError:
        return DarkroomError(f"{path} of {revision.name} {why}: run `dvc repro`.")

    try:
        head, *rows = csv.reader(io.StringIO(contents.decode(), newline=""), strict=True)
        if RANK in head:
            head = ["predicted" if name == FIRST else name for name in head]
        lengths = {len(row) for row in rows if row} - {len(head)}
        if lengths or len(set(head)) < len(head):
            raise broken("has rows of different lengths" if lengths else "has a column twice")
        table = pd.DataFrame([row for row in rows if row], columns=head, dtype=object)
        missing = {*needed, *numeric} - {*optional, *head}
        if missing:
            raise broken(f"has no column {', '.join(sorted(missing))}")
        numeric = [name for name in numeric if name in table]
        table = table.astype(dict.fromkeys(numeric, float))
    except (ValueError, TypeError, csv.Error) as error:
        raise broken(f"cannot be read ({error})") from None
    filled = [name for name in needed if name != "predicted" or RANK not in head]  # who has had all items gets none
    if (table[filled] == "").any(axis=None) or not np.isfinite(table[numeric]).all(axis=None):
        raise broken("has empty cells")
    return table


def parameters(revision: Revision) -> dict[str, Any]:
    """The leaves of params.yaml, by dotted key. Raises DarkroomError if it is not valid YAML."""
    try:
        values = yaml.load(revision.read(str(params.PATH)) or b"{}", params.Loader)  # a SafeLoader
        return params.flat(values)
    except (yaml.YAMLError, DarkroomError, AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DarkroomError(f"{params.PATH} of {revision.name} is not valid YAML: {reason}.") from None
