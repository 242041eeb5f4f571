"""Learning curves on disk, where DVC draws them: DVCLive's files, an epoch a row, and a table of the layers' gradients."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from dvclive import Live

from darkroom.outputs import new_folder, write_csv
from darkroom.training import Record


def write(folder: str | Path, records: Sequence[Record]) -> None:
    """Writes the curves of `records`, one an epoch, to `folder`, whole or not at all."""
    with new_folder(folder) as temporary:
        with Live(str(temporary), dvcyaml=None, save_dvc_exp=False, report=None) as live:
            for record in records:
                for name, value in record.curves().items():
                    live.log_metric(name, value)
                live.next_step()
        rows = [{"epoch": record.epoch, "layer": name, **layer._asdict()} for record in records for name, layer in record.layers.items()]
        write_csv(temporary / "gradients.csv", pd.DataFrame(rows))
