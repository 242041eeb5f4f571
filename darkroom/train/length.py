"""Batch size and number of epochs of a training: they follow the number of training examples.

With few examples, large batches take too few steps in the usual number of epochs to train a network.
"""

import math

from darkroom.train.config import BATCH_SIZES, TrainConfig


def resolve(settings: TrainConfig, examples: int, unlabelled: int = 0) -> TrainConfig:
    """`settings` with the batch size and the number of epochs for these numbers of training examples.

    `unlabelled` is the number of unlabelled examples that are trained on: 0 if no method uses them. A batch size of
    "auto" is the largest that takes `min_steps` steps in `epochs` epochs. If even small batches take fewer, there are
    more epochs: whole ones, unless a part of one suffices.
    """
    epochs, least = settings.epochs, settings.min_steps
    batch_size, ratio = settings.batch_size, settings.semi_supervised.unlabelled_ratio if unlabelled else 1
    if batch_size == "auto":
        enough = (
            size
            for size in BATCH_SIZES
            if round(epochs * steps_per_epoch(examples, min(size, examples), unlabelled, ratio)) >= least
        )
        batch_size = next(enough, BATCH_SIZES[-1])
    batch_size = min(batch_size, examples)
    steps = steps_per_epoch(examples, batch_size, unlabelled, ratio)
    if round(epochs * steps) < least:
        needed = least / steps
        epochs = needed if needed < 1 else float(math.ceil(needed))
    return settings.model_copy(update={"batch_size": batch_size, "epochs": epochs})


def steps_per_epoch(examples: int, batch_size: int, unlabelled: int = 0, ratio: int = 1) -> int:
    """Steps that show all labelled examples, `batch_size` at a time, and all unlabelled ones, `ratio` for each."""
    return max(math.ceil(examples / batch_size), math.ceil(unlabelled / (ratio * batch_size)))
