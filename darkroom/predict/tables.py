"""Classify the rows of tables, for `darkroom.predict.batch`: one row per row."""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.bundle.classifier import Bundle
from darkroom.bundle.tables import TableClassifier
from darkroom.columns.schema import Remarks, Unusable
from darkroom.core.errors import DarkroomError
from darkroom.datasets import records
from darkroom.predict import classifications, table

BLOCK = 2048  # rows at a time
FIRST = ["row", "label", "confidence", "abstained", "risk", "decision", "unknown", "outside"]


def run(bundle: Bundle, paths: Sequence[Path], options: argparse.Namespace, version: str) -> int:
    """Classify the tables at `paths`, files or folders of tables; returns the exit code as of `batch.main`."""
    files = table.inputs(paths, records.find, options.output)
    if not files:
        raise DarkroomError(f"{', '.join(map(str, paths))}: no tables found ({', '.join(records.SUFFIXES)}).")
    header = classifications.columns(FIRST, options.top_k, options.sets)
    classifier = TableClassifier(bundle)
    rows, classified = _rows(files, classifier.schema.names), partial(_classified, classifier, options, len(header) - 3)
    return classifications.write(bundle, options, header, version, rows, classified, BLOCK, "row")


def _rows(files: Sequence[Path], wanted: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name and the values of each row of all files; warns of columns that a file does not have."""
    for file in files:
        names = records.header(file)
        if absent := [repr(name) for name in wanted if name not in names]:
            shown = f"{', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''}"
            print(f"Warning: {file} has no column {shown}: the values count as missing.", file=sys.stderr)
        rows = (row for block in records.blocks(file, BLOCK) for row in block)
        for number, row in enumerate(rows, 1):
            yield f"{os.fspath(file)}:{number}", dict(zip(names, row, strict=True))


def _classified(
    classifier: TableClassifier,
    options: argparse.Namespace,
    empty: int,
    block: Sequence[tuple[str, Mapping[str, Any]]],
) -> Iterator[list[str]]:
    """The row of each row, without the bundle's version; one that cannot be used has `empty` cells and the reason."""
    found: list[tuple[np.ndarray, Remarks] | Unusable] = []
    for _, row in block:
        try:
            found.append(classifier.schema.row(row))
        except Unusable as reason:
            found.append(reason)
    usable = [one[0] for one in found if isinstance(one, tuple)]
    answered = iter(classifier.predict(np.stack(usable))[1] if usable else ())
    decision = classifier.bundle.manifest.decision
    for (name, _), one in zip(block, found, strict=True):
        if isinstance(one, Unusable):
            yield [name, *[""] * empty, str(one)]
            continue
        probabilities, remarks = next(answered), one[1]
        best, further = classifications.cells(classifier.bundle, probabilities, options.top_k, options.sets)
        risk = decided = ""
        if decision:
            chance = float(probabilities[decision.positive])
            risk, decided = f"{chance:.6g}", "refuse" if chance >= decision.threshold else "approve"
        odd = [" ".join(remarks.unknown), " ".join(remarks.outside)]
        yield [name, *best, risk, decided, *odd, *further, ""]
