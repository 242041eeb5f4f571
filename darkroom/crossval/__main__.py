"""Find training and validation labels that may be wrong, by cross-validation.

The training set is split into folds, each with all classes and whole groups. Each fold is classified by a network that
was trained on the others with the parameters of params.yaml, and the validation set by all of them. Run it after `dvc
repro preprocess`. It trains once per fold, so choose a fast recipe first: `python -m darkroom.recipe sprint`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from darkroom.audit import freshness
from darkroom.core import arrays, params
from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, require_replaceable, write_csv
from darkroom.core.spelling import counted
from darkroom.crossval import folds
from darkroom.crossval.out_of_sample import out_of_sample
from darkroom.evaluate import label_errors, plots
from darkroom.evaluate.config import EvaluateConfig
from darkroom.figures import drawing
from darkroom.models.config import ModelConfig
from darkroom.models.inference import probabilities
from darkroom.statistics.intervals import mean_interval, wilson
from darkroom.train.config import TrainConfig

SUSPECTS = {"train": "suspects", "val": "val_suspects"}  # by split: the names of its table and images
_NAMES = {"train": "training", "val": "validation"}
_WEAK = 0.9  # accuracy below which most suspects are errors of the network: few data sets have 10 % wrong labels
_FEW = 10  # examples of a class from which a network learns little


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: exit code 1 if data, parameters or a training fail, 2 if the command is wrong."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.crossval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, default=3, metavar="N", help="number of folds (default: %(default)s)")
    parser.add_argument(
        "--output",
        default="metrics/labels",
        metavar="FOLDER",
        help="folder for the tables and their images (default: %(default)s)",
    )
    chosen = parser.parse_args(arguments)
    if chosen.folds < 2:
        parser.error(f"--folds {chosen.folds}: must be at least 2")
    try:
        _run(chosen.folds, chosen.output)
    except (DarkroomError, OSError) as error:
        sys.exit(f"crossval: {error}")


def _run(count: int, output: str) -> None:
    seed, model, settings, shown = params.load(
        seed=params.Seed, model=ModelConfig, train=TrainConfig, evaluate=EvaluateConfig
    )
    require_replaceable(output, [f"{name}.{suffix}" for name in SUSPECTS.values() for suffix in ("csv", "png")])
    manifest = arrays.read_manifest("data/arrays")
    arrays.require_labels(manifest)
    if manifest.kind == "history":
        raise DarkroomError(f"{manifest.title} has histories, whose labels nobody gave: the next event is the label.")
    if notice := freshness.notice():
        print(f"crossval: {notice}", file=sys.stderr, flush=True)
    train, val = (arrays.read_split("data/arrays", name) for name in ("train", "val"))
    groups = arrays.read_columns("data/arrays", "train").get("group")
    fold = folds.assign(train.ids, np.asarray(train.labels), groups, count, seed)
    if empty := np.setdiff1d(range(count), fold).size:
        what = "training examples" if groups is None else "groups and ungrouped examples of the training split"
        raise DarkroomError(f"--folds {count}: must be at most {count - empty}, the number of {what}.")
    classes = len(manifest.classes)
    held_out = np.stack([np.bincount(train.labels[fold == number], minlength=classes) for number in range(count)])
    learned = held_out.sum(0) - held_out
    unlabelled = arrays.read_unlabelled("data/arrays")
    of_train, of_val = np.empty((len(train), classes)), np.zeros((len(val), classes))
    for indices, logits, val_logits in out_of_sample(train, val, manifest, seed, model, settings, fold, unlabelled):
        of_train[indices] = probabilities(logits)
        of_val += probabilities(val_logits) / count
    with new_folder(output) as folder:
        limit = shown.gallery_size
        lines = [
            _write(folder, train, "train", of_train, learned[fold, train.labels] > 0, manifest, limit),
            _write(folder, val, "val", of_val, learned.min(0)[val.labels] > 0, manifest, limit),
        ]
    for line in (*lines, *remarks(of_train.argmax(1) == train.labels, groups, learned, manifest.classes)):
        print(line)
    print(f"Tables{' and images' if manifest.kind == 'image' else ''}: {output}, most suspect first")


def _write(
    folder: Path, split: Split, name: str, predicted: np.ndarray, checked: np.ndarray, manifest: Manifest, limit: int
) -> str:
    """Write a table of the suspect labels to `folder`; return a line that counts them.

    Of images it also writes a gallery; of texts the table has a column `text`. `name` is that of the split, `predicted`
    (N, K) float64 are probabilities, and `checked` (N,) bool says which examples may be suspect.
    """
    path = folder / SUSPECTS[name]
    labels, ids = np.asarray(split.labels)[checked], split.ids[checked]
    suspects = label_errors.table(predicted[checked], labels, ids, manifest.classes)
    if manifest.kind == "text":
        texts = dict(zip(split.ids.tolist(), arrays.read_texts("data/arrays", name), strict=True))
        suspects = suspects.assign(text=suspects["id"].map(texts))
    elif manifest.kind == "image":
        drawing.save(plots.suspects(split.inputs, split.ids, suspects, limit), path.with_suffix(".png"))
    write_csv(path.with_suffix(".csv"), suspects)
    return f"{len(suspects)} of {counted(len(split), f'{_NAMES[name]} label')} are suspect ({path.name}.csv)"


def remarks(
    is_correct: np.ndarray, groups: np.ndarray | None, learned: np.ndarray, classes: Sequence[str]
) -> Iterator[str]:
    """Lines that say how far the networks can be trusted.

    `is_correct` (N,) bool: whether the prediction is the label. `learned` (folds, K) int64: examples of each class that
    each network has seen.
    """
    accuracy = is_correct.mean()
    low, high = wilson(is_correct.sum(), len(is_correct)) if groups is None else mean_interval(is_correct, groups)
    yield (
        f"The {len(learned)} networks agree with {accuracy:.1%} (95 % interval: {max(0, low):.1%} to "
        f"{min(1, high):.1%}) of the training labels that they have not seen."
    )
    if accuracy < _WEAK:
        yield (
            f"They are weak: they err on about {1 - accuracy:.0%} of the examples, so most suspect labels are correct. "
            "Train longer, choose a better recipe, or add examples."
        )
    least = learned.min(0)
    if missing := [name for name, size in zip(classes, least.tolist(), strict=True) if not size]:
        yield f"Not checked, since a network has seen no example of the class: {', '.join(missing)}."
    if few := [f"{name} ({size})" for name, size in zip(classes, least.tolist(), strict=True) if 0 < size < _FEW]:
        yield f"Hardly checked, since a network has seen fewer than {_FEW} examples of the class: {', '.join(few)}."


if __name__ == "__main__":
    main()
