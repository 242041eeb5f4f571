"""Batch size and number of epochs of a training: they follow the number of training examples.

With few examples, large batches take too few steps in the usual number of epochs to train a network.
"""

import math

from darkroom.train.config import BATCH_SIZES, TrainConfig


def resolve(settings: TrainConfig, examples: int) -> TrainConfig:
    """`settings` with the batch size and the number of epochs for this number of training examples.

    A batch size of "auto" is the largest that takes `min_steps` steps in `epochs` epochs. If even small batches take
    fewer, there are more epochs: whole ones, unless a part of one suffices.
    """
    epochs, least = settings.epochs, settings.min_steps
    batch_size = settings.batch_size
    if batch_size == "auto":
        enough = (size for size in BATCH_SIZES if round(epochs * _steps(examples, size)) >= least)
        batch_size = next(enough, BATCH_SIZES[-1])
    batch_size = min(batch_size, examples)
    steps = _steps(examples, batch_size)
    if round(epochs * steps) < least:
        needed = least / steps
        epochs = needed if needed < 1 else float(math.ceil(needed))
    return settings.model_copy(update={"batch_size": batch_size, "epochs": epochs})


def _steps(examples: int, batch_size: int) -> int:
    """Steps per epoch."""
    return math.ceil(examples / batch_size)
