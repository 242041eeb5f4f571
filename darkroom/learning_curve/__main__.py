"""Measure accuracy or HR@10 by the number of labels, and extrapolate it.

    python -m darkroom.learning_curve
    python -m darkroom.learning_curve --fractions 1/64 1/32 1/16 1/8 1/4 --seeds 5

Trains with the parameters of params.yaml on growing parts of the training split, each with all classes and contained
in the next, and measures on the validation split. Run it after `dvc repro preprocess`. Interrupt it at any time: the
same command goes on after the last finished training. Writes metrics/learning_curve.json, .csv and .png.
"""

import argparse
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from darkroom.audit import freshness
from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_csv, write_json
from darkroom.core.spelling import counted
from darkroom.figures import drawing
from darkroom.learning_curve import figure, power_law, trainings
from darkroom.models.config import ModelConfig
from darkroom.recommend.config import RankingConfig
from darkroom.review import digests, lock, recommended
from darkroom.review.revision import WORKSPACE
from darkroom.train.config import TrainConfig

SUMMARY, TABLE, FIGURE = (Path(f"metrics/learning_curve.{suffix}") for suffix in ("json", "csv", "png"))
FRACTIONS = tuple(Fraction(1, 2**power) for power in range(4, -1, -1))
FACTORS = (1, 2, 4, 10)  # times the labels, for which the accuracy is extrapolated
NAMES = {"accuracy": "accuracy", recommended.KEY: recommended.NAME}  # of what is measured


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: exit code 1 if data, parameters or a training fail, 2 if the command is wrong."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.learning_curve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--fractions",
        type=_fraction,
        nargs="+",
        default=FRACTIONS,
        metavar="F",
        help=f"parts of the training split (default: {' '.join(map(str, FRACTIONS))})",
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings with each (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    if len(set(chosen.fractions)) < 3:
        parser.error("--fractions: the extrapolation needs at least 3 different ones")
    if chosen.seeds < 1:
        parser.error(f"--seeds {chosen.seeds}: must be at least 1")
    try:
        _run(sorted(set(chosen.fractions)), chosen.seeds)
    except (DarkroomError, OSError) as error:
        sys.exit(f"learning_curve: {error}")


def _fraction(text: str) -> Fraction:
    try:
        found = Fraction(text)
    except (ValueError, ZeroDivisionError):
        found = Fraction(0)
    if not 0 < found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a fraction of the labels such as 1/8 or 0.125, at most 1")
    return found


def _run(fractions: Sequence[Fraction], seeds: int) -> None:
    model, settings, ranked = params.load(model=ModelConfig, train=TrainConfig, evaluate=RankingConfig)
    recipe = trainings.find_recipe(model, settings, ranked.seen_items)
    if notice := freshness.notice():
        print(f"learning_curve: {notice}", file=sys.stderr, flush=True)
    planned = trainings.plan(recipe, fractions, seeds)
    if len({len(training.indices) for training in planned}) < 3:
        raise DarkroomError(
            f"the training split has only {counted(len(recipe.train), 'example')}: the fractions "
            f"{', '.join(map(str, fractions))} have fewer than 3 different numbers of labels; choose larger fractions."
        )
    rows, total, before = [], len(recipe.val), _current_recipe()
    known = {"data_md5": digests.digest(WORKSPACE, "data/arrays")}
    key = recommended.KEY if recipe.manifest.kind == "history" else "accuracy"
    with tqdm(total=len(planned), desc="trainings", unit="training", disable=None) as bar:
        for training, incorrect, kept in trainings.run(recipe, planned):
            rows.append([str(training.fraction), len(training.indices), training.seed, 1 - incorrect / total])
            note = " (kept)" if kept else ""
            bar.write(f"{training}: validation {NAMES[key]} {rows[-1][-1]:.2%}{note}", file=sys.stdout)
            bar.update()
    table = pd.DataFrame(rows, columns=["fraction", "labels", "seed", key])
    known = {"recipe": before if before == _current_recipe() else None, **known}  # it may have changed meanwhile
    _write(table, key, total, len(recipe.train), recipe.manifest.title, known)


def summarise(table: pd.DataFrame, key: str, measured: int, present: int) -> dict[str, Any]:
    """Accuracy by number of labels, the law, and the accuracy to expect with more labels, as JSON.

    `table` has one row per training: labels, and the accuracy in the column `key`. `measured` examples determined each
    accuracy. `present` is the number of labels that there are, of which the trainings may have had a part.
    """
    labels, incorrect = table["labels"].to_numpy(), ((1 - table[key]) * measured).round().to_numpy()
    found = power_law.fit(labels, incorrect, measured, [factor * present for factor in FACTORS])
    accuracies = table.groupby("labels")[key]
    by_labels = zip(accuracies.mean().items(), accuracies.std(), accuracies.size(), strict=True)
    return {
        "validation_examples": measured,
        "measured": {
            str(number): {"mean": mean, "std": None if size == 1 else std, "n": int(size)}
            for (number, mean), std, size in by_labels
        },
        "law": {"a": found.curve.a, "b": found.curve.b, "c": found.curve.c},
        "expected": {
            str(factor): {
                "labels": factor * present,
                key: float(1 - found.median[number]),
                "low": float(1 - found.high[number]),
                "high": float(1 - found.low[number]),
            }
            for number, factor in enumerate(FACTORS)
        },
    }


def _write(table: pd.DataFrame, key: str, measured: int, present: int, title: str, known: dict[str, Any]) -> None:
    summary = summarise(table, key, measured, present)
    labels = table["labels"].to_numpy()
    wanted = np.geomspace(labels.max(), FACTORS[-1] * present, 12)
    incorrect = ((1 - table[key]) * measured).round().to_numpy()
    found = power_law.fit(labels, incorrect, measured, wanted)
    drawn = figure.draw(labels, incorrect, measured, wanted, found, title, NAMES[key])
    write_csv(TABLE, table)
    drawing.save(drawn, FIGURE)
    write_json(SUMMARY, {**known, **summary})  # last: it names what is complete
    for line in lines(summary, key):
        print(line)
    print(f"Written: {SUMMARY}, {TABLE}, {FIGURE}")


def lines(summary: dict[str, Any], key: str) -> list[str]:
    """What the curve says, for people."""
    law, expected = summary["law"], summary["expected"]
    now = expected["1"][key]
    found = [f"error(n) = {law['a']:.3g} n^-{law['b']:.2f} + {law['c']:.3g}, n labels; error = 1 - {NAMES[key]}"]
    for factor, point in expected.items():
        if factor == "1" and str(point["labels"]) in summary["measured"]:
            continue
        labels, change = f"{factor} times the labels", f" ({point[key] - now:+.2%})"
        if factor == "1":
            labels, change = "all labels", ""
        found.append(
            f"{labels} ({point['labels']:,}): {NAMES[key]} {point[key]:.2%}{change}, 95 % interval {point['low']:.2%} "
            f"to {point['high']:.2%}"
        )
    return found


def _current_recipe() -> str | None:
    """The recipe of dvc.lock, if the data and parameters here are its own; a review names it."""
    try:
        return lock.require_current_recipe(WORKSPACE)
    except (DarkroomError, OSError):
        return None


if __name__ == "__main__":
    main()
