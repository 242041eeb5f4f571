"""Labels of the training pictures that are probably wrong, by cross-validation.

The training set is cut into folds; each is judged by a network that was trained on the others, by the recipe of params.yaml.
Run it after `dvc repro preprocess`; name a quick recipe first (`python -m darkroom.recipe sprint`), since it trains once a fold.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from darkroom import schema
from darkroom.core import arrays
from darkroom.core.arrays import Manifest, Split, read_into
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import TEMPORARY, new_folder, write_csv
from darkroom.core.randomness import derive_seed
from darkroom.evaluate import label_errors, plots
from darkroom.figures import drawing
from darkroom.models import inference
from darkroom.models.inference import predict
from darkroom.schema import Params
from darkroom.train.setup import build_trainer

_BLOCK = 1000  # pictures copied at a time


def folds(ids: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which fold each picture with an id of `ids` (N,) belongs to, (N,) int64: `count` parts of equal size, seeded."""
    ranks = np.array([derive_seed(seed, "folds", name) for name in ids.tolist()])
    return np.argsort(np.argsort(ranks)) % count


def out_of_sample(
    train: Split, val: Split, manifest: Manifest, settings: Params, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each fold the places (n,) of its examples and their logits (n, K) float32 from a network trained on the others."""
    fold = folds(train.ids, count, settings.seed)
    recipe = settings.train.model_copy(update={"keep_weights": "last", "early_stopping": 0})
    for number in range(count):
        places = np.flatnonzero(fold == number)
        with part(train, np.flatnonzero(fold != number)) as others, part(train, places) as own:
            trainer = build_trainer(settings.seed, settings.model, recipe, manifest, others, val)
            for record in trainer.epochs():
                print(f"fold {number + 1} of {count}, {record}", flush=True)
            yield places, predict(trainer.network, own.inputs, manifest.mean, manifest.std)


@contextmanager
def part(split: Split, places: np.ndarray) -> Iterator[Split]:
    """The pictures at `places` (n,) as a split of their own, in a temporary file and mapped as all are: they may not fit in memory."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir="data") as folder:
        path = Path(folder, "inputs.npy")
        images = np.lib.format.open_memmap(path, "w+", np.uint8, (len(places), *split.inputs.shape[1:]))
        for start in range(0, len(places), _BLOCK):
            read_into(images[start : start + _BLOCK], split.inputs, places[start : start + _BLOCK])
        images.flush()
        yield Split(np.load(path, mmap_mode="r"), split.labels[places], split.ids[places])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m darkroom.crossval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, default=3, help="parts of the training set (default: 3)")
    parser.add_argument(
        "--out", default="metrics/labels", help="folder for suspects.csv and suspects.png (default: metrics/labels)"
    )
    chosen = parser.parse_args()
    if chosen.folds < 2:
        parser.error(f"--folds = {chosen.folds}: it takes two at least")
    try:
        _run(chosen.folds, chosen.out)
    except DarkroomError as error:
        sys.exit(f"crossval: {error}")


def _run(count: int, out: str) -> None:
    settings = schema.load()
    manifest = arrays.read_manifest("data/arrays")
    train, val = (arrays.read_split("data/arrays", name) for name in ("train", "val"))
    logits = np.empty((len(train), len(manifest.classes)), np.float32)
    for fold, answers in out_of_sample(train, val, manifest, settings, count):
        logits[fold] = answers
    suspects = label_errors.table(
        inference.probabilities(logits), np.asarray(train.labels), train.ids, manifest.classes
    )
    with new_folder(out) as folder:
        write_csv(folder / "suspects.csv", suspects)
        drawing.save(
            plots.suspects(train.inputs, train.ids, suspects, settings.evaluate.gallery_size), folder / "suspects.png"
        )
    print(
        f"{len(suspects)} of {len(train)} training labels are probably wrong: {out}/suspects.csv, the most suspect first"
    )


if __name__ == "__main__":
    main()
