"""The folder metrics/evaluate: tables and figures of the test set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkroom.core.arrays import Split
from darkroom.core.outputs import new_folder, write_csv
from darkroom.evaluate import confidence, contact_sheet, label_errors, metrics, plots, slices
from darkroom.figures import drawing
from darkroom.models.inference import probabilities


def write(
    folder: str | Path,
    test: Split,
    logits: np.ndarray,
    predictions: pd.DataFrame,
    fitted: Mapping[str, Any],
    classes: Sequence[str],
    sliced: Mapping[str, np.ndarray],
    groups: np.ndarray | None,
    gallery_size: int,
) -> None:
    """Write all tables and figures to `folder`, atomically.

    `logits` (N, K) and `predictions` (N rows) are those of the test set, `fitted` is the contents of
    models/calibration.json, `sliced` the slices of each example by column, and `groups` (N,) text, if there are any.
    """
    predicted = logits.argmax(1)
    suspects = label_errors.table(probabilities(logits), test.labels, test.ids, classes)
    tables = {
        "per_class.csv": metrics.per_class(logits, test.labels, classes, groups),
        "confused_pairs.csv": metrics.confused_pairs(test.labels, predicted, classes),
        **({"slices.csv": slices.table(sliced, predicted == test.labels, groups)} if sliced else {}),
        "suspect_labels.csv": suspects,
        **confidence.tables(logits, test.labels, fitted, classes, groups),
    }
    shown = predictions["confidence"].to_numpy()
    figures = {
        "mistakes.png": plots.mistakes(test.inputs, test.labels, predicted, shown, classes, gallery_size),
        "suspect_labels.png": plots.suspects(test.inputs, test.ids, suspects, gallery_size),
    }
    with new_folder(folder) as written:
        for name, table in tables.items():
            write_csv(written / name, table)
        for name, figure in figures.items():
            drawing.save(figure, written / name)
        contact_sheet.write(written / "contact_sheet.png", test.inputs, predictions)
