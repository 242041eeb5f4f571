"""Train a small network alone and as the student of a teacher, and compare accuracy and time.

Needs the output of `dvc repro preprocess`, and a teacher: after `dvc repro`, `python -m darkroom.teacher keep NAME`.
Both trainings have the same epochs, augmentation, order of examples and initial weights; each runs in its own process,
and they take turns over the seeds. A difference is between two runs of one seed.
"""

import statistics
import sys

import yaml

from benchmarks.command import parser
from benchmarks.runs import ARRAYS, run
from benchmarks.tables import markdown, median_range
from darkroom.core import arrays, params, processor
from darkroom.core.errors import DarkroomError
from darkroom.teachers import descriptions

STUDENT = {
    "model.name": "sprint",
    "model.sprint.channels": 64,
    "train.batch_size": 512,
    "train.lr": 0.02,
    "train.augment.random_erasing": 0.5,  # the teacher knows the images by heart, but not these views
}
COLUMNS = ("", "parameters", "validation accuracy, %", "test accuracy, %", "difference, points", "seconds")


def main() -> None:
    options = parser("distillation", __doc__)
    options.add_argument("teacher", metavar="TEACHER", help="a folder in data/teachers")
    options.add_argument("--seeds", type=int, default=3, help="trainings of each kind")
    options.add_argument("--epochs", type=float, default=8)
    options.add_argument("--weight", type=float, help="of the teacher's answers in the loss, instead of params.yaml's")
    options.add_argument("--temperature", type=float, help="instead of that of params.yaml")
    options.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="other changes, of both trainings")
    chosen = options.parse_args()
    try:
        teacher = descriptions.load(chosen.teacher)
    except DarkroomError as error:
        sys.exit(str(error))
    changes = dict(change.split("=", 1) for change in chosen.set)
    changes = {key: yaml.load(value, params.Loader) for key, value in changes.items()}  # Loader is a SafeLoader
    alone = STUDENT | {"train.epochs": chosen.epochs, "train.distill.teacher": "none"} | changes
    taught = alone | {"train.distill.teacher": chosen.teacher}
    given = {"weight": chosen.weight, "temperature": chosen.temperature}
    taught |= {f"train.distill.{key}": value for key, value in given.items() if value is not None}
    runs: dict[str, list[dict]] = {"alone": [], "taught": []}
    for seed in range(chosen.seeds):
        for name, settings in (("alone", alone), ("taught", taught)):
            measured = run("ours", **settings, seed=seed)
            runs[name].append(measured)
            print(f"seed {seed}, {name}: {measured['accuracy']:.2%} in {measured['seconds']:.1f} s", flush=True)

    pairs = list(zip(runs["alone"], runs["taught"], strict=True))
    points = [100 * (with_teacher["accuracy"] - without["accuracy"]) for without, with_teacher in pairs]
    described = arrays.read_manifest(ARRAYS).title, processor.describe(), f"{chosen.epochs:g} epochs"
    print(
        f"\n{', '.join(described)}, {chosen.seeds} seeds taking turns; means ± standard deviations, seconds: medians\n"
    )
    rows = [
        (f"teacher: {teacher}", f"{teacher.parameters:,}", "", f"{100 * teacher.accuracy:.2f}", "", ""),
        row("student alone", runs["alone"], ""),
        row("student of the teacher", runs["taught"], f"{spread(points)} ({min(points):+.2f} to {max(points):+.2f})"),
    ]
    print(markdown(COLUMNS, rows))
    slower = [with_teacher["seconds"] / without["seconds"] for without, with_teacher in pairs]
    print(f"\nWith the teacher, the training takes {median_range(slower, 2)} times as long.")


def row(name: str, runs: list[dict], difference: str) -> tuple[str, ...]:
    """The cells of COLUMNS."""
    accuracies = (spread([100 * one[key] for one in runs]) for key in ("val_accuracy", "accuracy"))
    seconds = median_range([one["seconds"] for one in runs])
    return name, f"{runs[0]['parameters']:,}", *accuracies, difference, seconds


def spread(values: list[float]) -> str:
    """Mean, and the standard deviation of several."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


if __name__ == "__main__":
    main()
