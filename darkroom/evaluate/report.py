"""The folder metrics/evaluate: tables and figures of the test set."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from darkroom.core.arrays import Split
from darkroom.core.outputs import new_folder, write_csv
from darkroom.evaluate import confidence, label_errors, metrics, slices
from darkroom.evaluate.probabilities import Probabilities, largest


def write(
    folder: str | Path,
    test: Split,
    logits: np.ndarray,
    predictions: pd.DataFrame,
    fitted: Mapping[str, Any],
    classes: Sequence[str],
    sliced: Mapping[str, np.ndarray],
    groups: np.ndarray | None,
    show: Callable[..., None],
    more: Mapping[str, pd.DataFrame] = MappingProxyType({}),
) -> None:
    """Write all tables and figures to `folder`, atomically.

    `logits` (N, K) and `predictions` (N rows) are those of the test set, `fitted` is the contents of
    models/calibration.json, `sliced` the slices of each example by column, and `groups` (N,) text, if there are any.
    `show` writes what is shown of the kind of example, as `image_examples.show` does, and
    `more` are tables by file name.
    """
    predicted = largest(logits)[1]
    suspects = label_errors.table(Probabilities(logits), test.labels, test.ids, classes)
    tables = {
        "per_class.csv": metrics.per_class(logits, test.labels, classes, groups),
        "confused_pairs.csv": metrics.confused_pairs(test.labels, predicted, classes),
        **({"slices.csv": slices.table(sliced, predicted == test.labels, groups)} if sliced else {}),
        "suspect_labels.csv": suspects,
        **confidence.tables(logits, test.labels, fitted, classes, groups),
        **more,
    }
    with new_folder(folder) as written:
        for name, table in tables.items():
            write_csv(written / name, table)
        show(written, test, predicted, predictions, suspects, classes)
