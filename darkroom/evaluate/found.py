"""What an evaluation found, for the stage to write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Found:
    """The results of the test set, and what was fitted on the validation set."""

    summary: Mapping[str, float | None]  # metrics/evaluate.json
    fitted: Mapping[str, Any]  # models/calibration.json
    predictions: pd.DataFrame  # metrics/predictions.csv
    write: Callable[[str], None]  # writes all tables and figures to a folder, atomically
    lines: Sequence[str]  # for the terminal
    examples_per_second: float
