"""Small tables, for tests."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from darkroom.columns.schema import Column, Schema
from darkroom.datasets import descriptions, table_folder

AGE = Column("age", "number", low=18.0, high=80.0, absent=("unknown",))
JOB = Column("job", "category", categories=("clerk", "nurse"))
SINCE = Column("since", "date", low=0.0, high=100.0)
SCHEMA = Schema("default", "1", (AGE, JOB, SINCE))


def in_project(rows: Sequence[Mapping[str, str]], **described: object) -> None:
    """Write the rows as a dataset in the working directory, with a dataset.yaml, and index it."""
    folder = Path("data/datasets/toy")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "clients.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    (folder / "dataset.yaml").write_text(yaml.safe_dump({"kind": "table", **described}))
    table_folder.build(descriptions.load("toy"), "data/raw")
