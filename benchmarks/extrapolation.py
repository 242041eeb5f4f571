"""Compare the accuracy that a learning curve expects at several times the labels with the measured one.

Each --trial is a recipe, with changes of params.yaml. It is trained on growing parts of the training split and on all
of it. The curve of the parts is extrapolated to all labels. Needs the output of `dvc repro preprocess`; run it on
several datasets. Trainings are kept in .darkroom/learning_curve, so the same command goes on after an interruption.

    python -m benchmarks.extrapolation --trial sprint --trial sprint train.epochs=4 --trial few_labels model.name=cnn
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import yaml
from tqdm import tqdm

from benchmarks.command import parser
from benchmarks.runs import changed, recipe
from benchmarks.tables import markdown
from darkroom.core import params, processor
from darkroom.learning_curve import power_law, trainings

PARTS = tuple(Fraction(1, 2**power) for power in range(4, -1, -1))
COLUMNS = ("trial", "labels", "measured, %", "expected, %", "95 % interval", "mean within", "trainings within")


def measure(changes: dict[str, object], factor: int, seeds: int) -> list[str]:
    """One row of COLUMNS, without the trial's name."""
    chosen = changed(changes)
    one = trainings.find_recipe(chosen.model, chosen.train, chosen.evaluate.seen_items)
    planned = trainings.plan(one, [*(part / factor for part in PARTS), Fraction(1)], seeds)
    done = tqdm(trainings.run(one, planned), total=len(planned), unit="training", leave=False, disable=None)
    found = [(len(training.indices), incorrect) for training, incorrect, _ in done]
    labels, incorrect = np.array(found).T
    all_labels, total = labels.max(), len(one.val)
    part = labels < all_labels
    fit = power_law.fit(labels[part], incorrect[part], total, [all_labels])
    low, expected, high = (1 - found[0] for found in (fit.high, fit.median, fit.low))
    measured = 1 - incorrect[~part] / total
    inside = (low <= measured) & (measured <= high)
    return [
        f"{labels[part].max():,} to {all_labels:,}",
        f"{100 * measured.mean():.2f}",
        f"{100 * expected:.2f}",
        f"{100 * low:.2f} to {100 * high:.2f}",
        "yes" if low <= measured.mean() <= high else "no",
        f"{inside.sum()} of {seeds}",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("extrapolation", __doc__)
    options.add_argument("--trial", nargs="+", action="append", required=True, metavar="RECIPE [KEY=VALUE ...]")
    options.add_argument("--factor", type=int, default=4, help="how many times the labels are expected")
    options.add_argument("--seeds", type=int, default=3, help="trainings with each number of labels")
    chosen = options.parse_args(arguments)
    rows = []
    for name, *changes in chosen.trial:
        given = (change.split("=", 1) for change in changes)
        values = recipe(name) | {key: yaml.load(value, params.Loader) for key, value in given}  # a SafeLoader
        rows.append([" ".join([name, *changes]), *measure(values, chosen.factor, chosen.seeds)])
        print(*rows[-1], sep=" | ", flush=True)
    print(f"\n{processor.describe()}\n\n{markdown(COLUMNS, rows)}")


if __name__ == "__main__":
    main()
