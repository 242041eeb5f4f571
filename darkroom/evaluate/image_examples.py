"""What the evaluation shows of images: galleries, a contact sheet, and stand-ins for images of something else."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.core import arrays
from darkroom.core.arrays import Split
from darkroom.evaluate import contact_sheet, plots
from darkroom.evaluate.out_of_distribution import stand_ins
from darkroom.figures import drawing

__all__ = ["columns", "positive", "show", "stand_ins"]


def columns(split: str) -> Mapping[str, np.ndarray]:
    """The columns (N,) of texts of a split, by which it can be sliced."""
    return arrays.read_columns("data/arrays", split)


def positive(classes: Sequence[str]) -> int | None:
    """No class, of any number, is a risk."""
    return None


def show(
    folder: Path,
    test: Split,
    predicted: np.ndarray,
    predictions: pd.DataFrame,
    suspects: pd.DataFrame,
    classes: Sequence[str],
    limit: int,
) -> None:
    """Write mistakes.png, suspect_labels.png and contact_sheet.png.

    `predicted` (N,) int64 and the rows of `predictions` are those of the examples of `test`, `suspects` those of
    `label_errors.table`, and `limit` is the number of images in a gallery.
    """
    confidence = predictions["confidence"].to_numpy()
    figures = {
        "mistakes.png": plots.mistakes(test.inputs, test.labels, predicted, confidence, classes, limit),
        "suspect_labels.png": plots.suspects(test.inputs, test.ids, suspects, limit),
    }
    for name, figure in figures.items():
        drawing.save(figure, folder / name)
    contact_sheet.write(folder / "contact_sheet.png", test.inputs, predictions)
