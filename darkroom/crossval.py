"""Find training labels that are probably wrong, by cross-validation.

The training set is split into folds. Each is classified by a network that was trained on the others with the parameters
of params.yaml. Run it after `dvc repro preprocess`. It trains once per fold, so choose a fast recipe first:
`python -m darkroom.recipe sprint`.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from darkroom.audit import freshness
from darkroom.core import arrays, params
from darkroom.core.arrays import Manifest, Split, read_into
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import TEMPORARY, new_folder, write_csv
from darkroom.core.randomness import derive_seed
from darkroom.core.spelling import counted
from darkroom.evaluate import label_errors, plots
from darkroom.evaluate.config import EvaluateConfig
from darkroom.figures import drawing
from darkroom.models.config import ModelConfig
from darkroom.models.inference import predict, probabilities
from darkroom.train.config import TrainConfig
from darkroom.train.setup import build_trainer

_BLOCK = 1000  # examples copied at a time


def folds(ids: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold, 0 to `count` - 1, of each example (N,) int64; it depends on the set of `ids` (N,), not on their order.

    Their sizes differ by at most one.
    """
    ranks = np.array([derive_seed(seed, "folds", name) for name in ids.tolist()])
    return np.argsort(np.argsort(ranks)) % count


def out_of_sample(
    train: Split, val: Split, manifest: Manifest, seed: int, model: ModelConfig, settings: TrainConfig, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The indices (n,) of each fold's examples and their logits (n, K) float32, by a network trained on the others."""
    fold = folds(train.ids, count, seed)
    training = settings.model_copy(update={"keep_weights": "last", "early_stopping": 0})
    for number in range(count):
        indices = np.flatnonzero(fold == number)
        with subset(train, np.flatnonzero(fold != number)) as rest, subset(train, indices) as held_out:
            trainer = build_trainer(seed, model, training, manifest, rest, val)
            for record in trainer.epochs():
                print(f"fold {number + 1} of {count}, {record}", flush=True)
            yield indices, predict(trainer.network, held_out.inputs, manifest.mean, manifest.std)


@contextmanager
def subset(split: Split, indices: np.ndarray) -> Iterator[Split]:
    """The examples at `indices` (n,) as a split, mapped from a temporary file, since they may not fit in memory."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir="data") as folder:
        path = Path(folder, "inputs.npy")
        inputs = np.lib.format.open_memmap(path, "w+", np.uint8, (len(indices), *split.inputs.shape[1:]))
        for start in range(0, len(indices), _BLOCK):
            read_into(inputs[start : start + _BLOCK], split.inputs, indices[start : start + _BLOCK])
        inputs.flush()
        yield Split(np.load(path, mmap_mode="r"), split.labels[indices], split.ids[indices])


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
        help="folder for suspects.csv and suspects.png (default: %(default)s)",
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
    manifest = arrays.read_manifest("data/arrays")
    if notice := freshness.notice():
        print(f"crossval: {notice}", file=sys.stderr, flush=True)
    train, val = (arrays.read_split("data/arrays", name) for name in ("train", "val"))
    if count > len(train):
        raise DarkroomError(f"--folds {count}: must be at most {len(train)}, the number of training examples.")
    logits = np.empty((len(train), len(manifest.classes)), np.float32)
    for indices, found in out_of_sample(train, val, manifest, seed, model, settings, count):
        logits[indices] = found
    suspects = label_errors.table(probabilities(logits), np.asarray(train.labels), train.ids, manifest.classes)
    figure = plots.suspects(train.inputs, train.ids, suspects, shown.gallery_size)
    with new_folder(output) as folder:
        write_csv(folder / "suspects.csv", suspects)
        drawing.save(figure, folder / "suspects.png")
    print(
        f"{len(suspects)} of {counted(len(train), 'training label')} found probably wrong: {output}/suspects.csv, "
        "most suspect first"
    )


if __name__ == "__main__":
    main()
