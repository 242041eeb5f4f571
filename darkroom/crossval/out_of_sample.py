"""Predictions of networks that were not trained on the examples: one training per fold."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from darkroom.core.arrays import Manifest, Split, read_into
from darkroom.core.outputs import TEMPORARY, write_array
from darkroom.models.config import ModelConfig
from darkroom.models.inference import predict
from darkroom.train.config import TrainConfig
from darkroom.train.setup import build_trainer, notices

_BLOCK = 1000  # examples copied at a time
_FOLDER = f"{TEMPORARY}subset-"  # of the folders of `subset`; the number of the process follows


def out_of_sample(
    train: Split,
    val: Split,
    manifest: Manifest,
    seed: int,
    model: ModelConfig,
    settings: TrainConfig,
    fold: np.ndarray,
    unlabelled: Split | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each value of `fold` (N,) int64, train a network on the examples of the others.

    A semi-supervised method learns from `unlabelled` too, which tells nothing of the labels of the fold.

    Yields the indices (n,) of the fold's examples, their logits (n, K) float32, and the logits of the validation set.
    """
    # Neither `val` nor a teacher, which has seen the labels of the fold, has influence
    alone = settings.distill.model_copy(update={"teacher": "none"})
    training = settings.model_copy(update={"keep_weights": "last", "early_stopping": 0, "distill": alone})
    count = fold.max() + 1
    for number in range(count):
        indices = np.flatnonzero(fold == number)
        with subset(train, np.flatnonzero(fold != number)) as rest, subset(train, indices) as held_out:
            trainer = build_trainer(seed, model, training, manifest, rest, val, unlabelled=unlabelled)
            for notice in notices(training, trainer):
                print(f"fold {number + 1} of {count}: {notice}")
            for record in trainer.epochs():
                print(f"fold {number + 1} of {count}, {record}", flush=True)
            of_fold, of_val = (
                predict(trainer.whole, split.inputs, trainer.data.mean, trainer.data.std) for split in (held_out, val)
            )
            yield indices, of_fold, of_val


@contextmanager
def subset(split: Split, indices: np.ndarray) -> Iterator[Split]:
    """The examples at `indices` (n,) as a split, mapped from a temporary file, since they may not fit in memory."""
    _remove_leftovers()
    with tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-", dir="data") as folder:
        path = Path(folder, "inputs.npy")
        write_array(path, len(indices), _blocks(split.uncropped, indices))
        yield Split(np.load(path, mmap_mode="r"), split.labels[indices], split.ids[indices], split.size)


def _remove_leftovers() -> None:
    """Remove the folders of `subset` of processes that were killed."""
    for folder in Path("data").glob(f"{_FOLDER}*"):
        process = folder.name.removeprefix(_FOLDER).partition("-")[0]
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, OSError):  # not a folder of this program, or a process of somebody else
            continue


def _blocks(inputs: np.ndarray, indices: np.ndarray) -> Iterator[np.ndarray]:
    """The inputs (N, ...) at `indices` (n,) in parts."""
    for start in range(0, len(indices), _BLOCK):
        chosen = indices[start : start + _BLOCK]
        block = np.empty((len(chosen), *inputs.shape[1:]), inputs.dtype)
        read_into(block, inputs, chosen)
        yield block
