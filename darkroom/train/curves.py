"""Learning curves as CSV files, rewritten after every epoch so that `dvc plots show` follows a running training."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from darkroom.core.outputs import write_csv
from darkroom.train.gradients import LayerGradients
from darkroom.train.records import Record


def write(folder: str | Path, records: Sequence[Record]) -> None:
    """Write curves.csv, one row per epoch, and gradients.csv, one row per epoch and layer, each atomically.

    With unlabelled examples also semi_supervised.csv, one row per epoch.
    """
    write_csv(Path(folder, "curves.csv"), pd.DataFrame([record.curves() for record in records]))
    rows = [
        (record.epoch, name, *measured) for record in records for name, measured in record.layers.items()
    ]  # none if no step was measured
    write_csv(Path(folder, "gradients.csv"), pd.DataFrame(rows, columns=["epoch", "layer", *LayerGradients._fields]))
    path = Path(folder, "semi_supervised.csv")
    if any(record.objective for record in records):
        write_csv(path, pd.DataFrame([{"epoch": record.epoch, **record.objective} for record in records]))
    else:
        path.unlink(missing_ok=True)  # of an earlier training
