"""Hide most labels of a data set, and compare training on the others alone with the semi-supervised methods.

Needs packed arrays whose labels are known: the output of `dvc repro preprocess`. For each seed, that many training
examples of each class keep their label, drawn at random; the rest of the training split is unlabelled. Every training
reads the same labels and 1,000 validation examples, and is measured on the test split once. The recipe is
recipes/few_labels.yaml; the supervised one has the changes of SUPERVISED, the best of six that were tried for 10
labels per class. A ratio is that of the mean errors.
"""

import statistics
from pathlib import Path

import numpy as np
import yaml

from benchmarks.command import parser
from benchmarks.runs import ARRAYS, changed, recipe
from benchmarks.tables import markdown, median_range
from darkroom.core import arrays, params, processor
from darkroom.core.arrays import Split
from darkroom.core.randomness import numpy_generator

VALIDATION = 1000  # examples: supervised epochs of few examples are so short that validation takes longer
METHODS = ("pseudo_label", "fixmatch", "freematch")
SUPERVISED = {
    "train.semi_supervised.method": "none",
    "train.lr": 0.015,
    "train.label_smoothing": 0.1,
    "train.ema_decay": 0.0,
    "train.augment.policy": "rand",
    "train.augment.random_erasing": 0.5,
}
COLUMNS = ("labels per class", "method", "test accuracy, %", "errors, %", "errors, ratio", "seconds")


def hide(train: Split, classes: int, labels: int, seed: int) -> tuple[Split, Split]:
    """Two parts of `train`: `labels` examples of each class, and the others without their labels."""
    order = numpy_generator(seed, "hidden labels").permutation(len(train))
    known = np.asarray(train.labels)
    kept = np.sort(np.concatenate([order[known[order] == number][:labels] for number in range(classes)]))
    hidden = np.setdiff1d(order, kept)
    few, more = (Split(train.uncropped[part], known[part], train.ids[part], train.size) for part in (kept, hidden))
    return few, Split(more.uncropped, np.full(len(more), -1), more.ids, train.size)


def train(folder: Path, labels: int, seed: int, changes: dict[str, object]) -> dict[str, float]:
    """Train on `labels` examples of each class of the arrays in `folder`; seconds are those of training alone."""
    from darkroom.models.inference import predict
    from darkroom.train.setup import build_trainer

    chosen, manifest = changed({**changes, "seed": seed}), arrays.read_manifest(folder)
    known, val, test = (arrays.read_split(folder, name) for name in arrays.SPLITS)
    few, more = hide(known, len(manifest.classes), labels, seed)
    drawn = np.sort(numpy_generator(seed, "validation").permutation(len(val))[:VALIDATION])
    val = Split(val.uncropped[drawn], np.asarray(val.labels)[drawn], val.ids[drawn], val.size)
    trainer = build_trainer(chosen.seed, chosen.model, chosen.train, manifest, few, val, unlabelled=more)
    list(trainer.epochs())
    predicted = predict(trainer.whole, test.inputs, trainer.data.mean, trainer.data.std).argmax(1)
    seconds = sum(record.seconds for record in trainer.records)
    return {"accuracy": float((predicted == test.labels).mean()), "seconds": seconds}


def main() -> None:
    options = parser("semi_supervised", __doc__)
    options.add_argument("--arrays", type=Path, default=ARRAYS, metavar="FOLDER", help="packed arrays")
    options.add_argument("--labels", type=int, nargs="+", default=[10, 100], help="per class")
    options.add_argument("--seeds", type=int, default=3, help="trainings of each kind")
    options.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    options.add_argument("--steps", type=int, default=600, help="of the supervised trainings, at least")
    options.add_argument(
        "--epochs", type=float, help="of the others, over the unlabelled examples, if not the recipe's"
    )
    options.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="other changes, of all trainings")
    chosen = options.parse_args()
    given = dict(change.split("=", 1) for change in chosen.set)
    given = {key: yaml.load(value, params.Loader) for key, value in given.items()}  # Loader is a SafeLoader
    rows = []
    for labels in chosen.labels:
        runs: dict[str, list[dict[str, float]]] = {"supervised": [], **{method: [] for method in chosen.methods}}
        for seed in range(1, chosen.seeds + 1):
            for method, found in runs.items():
                changes = recipe("few_labels")
                if method == "supervised":
                    changes |= {**SUPERVISED, "train.min_steps": chosen.steps}
                else:
                    changes |= {"train.semi_supervised.method": method}
                    changes |= {"train.epochs": chosen.epochs} if chosen.epochs else {}
                found.append(train(chosen.arrays, labels, seed, changes | given))
                print(f"{labels} labels, seed {seed}, {method}: {found[-1]['accuracy']:.2%}", flush=True)
        rows += [row(labels, method, found, runs["supervised"]) for method, found in runs.items()]
    title = arrays.read_manifest(chosen.arrays).title
    print(f"\n{title}, {processor.describe()}, {chosen.seeds} seeds; means ± standard deviations, seconds: medians\n")
    print(markdown(COLUMNS, rows))


def row(labels: int, method: str, runs: list[dict[str, float]], supervised: list[dict[str, float]]) -> tuple:
    """The cells of COLUMNS."""
    accuracies = [100 * run["accuracy"] for run in runs]
    deviation = f" ± {statistics.stdev(accuracies):.2f}" if len(runs) > 1 else ""
    errors, alone = (100 - 100 * statistics.mean(run["accuracy"] for run in part) for part in (runs, supervised))
    seconds = median_range([run["seconds"] for run in runs])
    accuracy = f"{statistics.mean(accuracies):.2f}{deviation}"
    return labels, method, accuracy, f"{errors:.2f}", f"{errors / alone:.2f}", seconds


if __name__ == "__main__":
    main()
