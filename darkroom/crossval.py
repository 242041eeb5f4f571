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
import torch

from darkroom import arrays, hardware, labels, memory, metrics, models, params, plots
from darkroom.arrays import Manifest, Split, read_into
from darkroom.errors import DarkroomError
from darkroom.inference import predict
from darkroom.outputs import TEMPORARY, new_folder, write_csv
from darkroom.params import Params
from darkroom.randomness import derive_seed
from darkroom.training import Trainer

_BLOCK = 1000  # pictures copied at a time


def folds(ids: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which fold each picture with an id of `ids` (N,) belongs to, (N,) int64: `count` parts of equal size, seeded."""
    ranks = np.array([derive_seed(seed, "folds", name) for name in ids.tolist()])
    return np.argsort(np.argsort(ranks)) % count


def out_of_sample(train: Split, val: Split, manifest: Manifest, settings: Params, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The places (n,) of each fold and the logits (n, K) float32 that a network trained on the other folds gives them."""
    fold = folds(train.ids, count, settings.seed)
    device = hardware.choose_device(settings.train.device)
    precision = hardware.choose_precision(settings.train.precision, device)
    recipe = settings.train.model_copy(update={"weights": "last", "early_stopping": 0})
    for number in range(count):
        places = np.flatnonzero(fold == number)
        torch.manual_seed(derive_seed(settings.seed, "weights"))
        network = models.build(settings.model.name, settings.model.arguments(), manifest.shape, len(manifest.classes))
        with part(train, np.flatnonzero(fold != number)) as others, part(train, places) as own:
            trainer = Trainer(network, others, val, manifest, recipe, settings.seed, device, precision)
            for record in trainer.epochs():
                print(f"fold {number + 1} of {count}, {record}", flush=True)
            yield places, predict(network, own.images, manifest.mean, manifest.std)


@contextmanager
def part(split: Split, places: np.ndarray) -> Iterator[Split]:
    """The pictures at `places` (n,) as a split of their own, in a temporary file and mapped as all are: they may not fit in memory."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir="data") as folder:
        path = Path(folder, "images.npy")
        images = np.lib.format.open_memmap(path, "w+", np.uint8, (len(places), *split.images.shape[1:]))
        for start in range(0, len(places), _BLOCK):
            read_into(images[start : start + _BLOCK], split.images, places[start : start + _BLOCK])
        images.flush()
        yield Split(np.load(path, mmap_mode="r"), split.labels[places], split.ids[places])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m darkroom.crossval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=3, help="parts of the training set (default: 3)")
    parser.add_argument("--out", default="metrics/labels", help="folder for suspects.csv and suspects.png (default: metrics/labels)")
    chosen = parser.parse_args()
    if chosen.folds < 2:
        parser.error(f"--folds = {chosen.folds}: it takes two at least")
    try:
        _run(chosen.folds, chosen.out)
    except DarkroomError as error:
        sys.exit(f"crossval: {error}")


def _run(count: int, out: str) -> None:
    settings = params.check(params.read(params.PATH))
    memory.keep_freed()
    hardware.use_threads(settings.train.threads)
    manifest = arrays.read_manifest("data/arrays")
    train, val = (arrays.read_split("data/arrays", name) for name in ("train", "val"))
    logits = np.empty((len(train), len(manifest.classes)), np.float32)
    for fold, answers in out_of_sample(train, val, manifest, settings, count):
        logits[fold] = answers
    suspects = labels.table(metrics.probabilities(logits), np.asarray(train.labels), train.ids, manifest.classes)
    with new_folder(out) as folder:
        write_csv(folder / "suspects.csv", suspects)
        plots.save(plots.suspects(train.images, train.ids, suspects, settings.evaluate.gallery), folder / "suspects.png")
    print(f"{len(suspects)} of {len(train)} training labels are probably wrong: {out}/suspects.csv, the most suspect first")


if __name__ == "__main__":
    main()
