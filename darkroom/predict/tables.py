"""Classify the rows of tables, for `darkroom.predict.batch`: one row per row."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from darkroom.bundle.classifier import Bundle
from darkroom.bundle.manifest import SetKind
from darkroom.bundle.tables import TableClassifier
from darkroom.columns.schema import Remarks, Unusable
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.datasets import records
from darkroom.predict.table import line, opened

BLOCK = 2048  # rows at a time


def run(bundle: Bundle, paths: Sequence[Path], options: argparse.Namespace, version: str) -> int:
    """Classify the tables at `paths`, files or folders of tables; returns the exit code as of `batch.main`."""
    files = [file for path in paths for file in (records.find(path) if path.is_dir() else [path])]
    if not files:
        raise DarkroomError(f"{', '.join(map(str, paths))}: no tables found ({', '.join(records.SUFFIXES)}).")
    classifier = TableClassifier(bundle)
    header = columns(options.top_k, options.sets)
    with opened(options.output, header, version) as (table, earlier):
        rows, errors = len(earlier.hashes), earlier.errors
        with tqdm(desc="predict", unit="row", disable=None) as bar:
            for block in _blocks(files, classifier.schema.names):
                new = [(name, row) for name, row in block if name not in earlier]
                for found in _classified(classifier, new, options.top_k, options.sets):
                    table.write(line([*found, version]))
                    errors += bool(found[-1])
                table.flush()
                rows += len(new)
                bar.update(len(new))
    where = sys.stderr if options.output == "-" else sys.stdout
    print(f"{options.output}: {counted(rows, 'row')}; {errors} unusable (see column error)", file=where)
    if bundle.manifest.threshold is None:
        print(f"{bundle.manifest.why_no_threshold()} So abstained is true in every row.", file=sys.stderr)
    return int(errors == rows)


def columns(top_k: int, sets: SetKind | None) -> list[str]:
    """The header: row is the table and the number of the row; unknown and outside name columns."""
    further = [f"{name}_{rank}" for rank in range(2, top_k + 1) for name in ("label", "confidence")]
    first = ["row", "label", "confidence", "abstained", "risk", "decision", "unknown", "outside"]
    return [*first, *(["set"] if sets else []), *further, "error", "bundle"]


def _blocks(files: Sequence[Path], wanted: Sequence[str]) -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
    """The rows of all files and their names; warns of columns that a file does not have."""
    for file in files:
        names, number = records.header(file), 1
        if absent := [repr(name) for name in wanted if name not in names]:
            shown = f"{', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''}"
            print(f"Warning: {file} has no column {shown}: the values count as missing.", file=sys.stderr)
        for block in records.blocks(file, BLOCK):
            rows = (dict(zip(names, row, strict=True)) for row in block)
            yield [(f"{os.fspath(file)}:{place}", row) for place, row in enumerate(rows, number)]
            number += len(block)


def _classified(
    classifier: TableClassifier, block: Sequence[tuple[str, Mapping[str, Any]]], top_k: int, sets: SetKind | None
) -> Iterator[list[str]]:
    """The row of each row, without the bundle's version."""
    found: list[tuple[np.ndarray, Remarks] | Unusable] = []
    for _, row in block:
        try:
            found.append(classifier.schema.row(row))
        except Unusable as reason:
            found.append(reason)
    usable = [one[0] for one in found if isinstance(one, tuple)]
    answered = iter(classifier.predict(np.stack(usable))[1] if usable else ())
    manifest = classifier.bundle.manifest
    for (name, _), one in zip(block, found, strict=True):
        if isinstance(one, Unusable):
            yield [name, *[""] * (len(columns(top_k, sets)) - 3), str(one)]
            continue
        probabilities, remarks = next(answered), one[1]
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        label, confidence, *further = [
            value for index in best for value in (manifest.classes[index], f"{probabilities[index]:.6g}")
        ]
        risk = decided = ""
        if manifest.decision:
            chance = float(probabilities[manifest.decision.positive])
            risk, decided = f"{chance:.6g}", "refuse" if chance >= manifest.decision.threshold else "approve"
        chosen = []
        if sets:
            names = [manifest.classes[index] for index in manifest.conformal.prediction_set(probabilities, sets)]
            chosen = [json.dumps(names, ensure_ascii=False)]
        abstained = str(manifest.withholds(float(probabilities[best[0]]))).lower()
        odd = [" ".join(remarks.unknown), " ".join(remarks.outside)]
        yield [name, label, confidence, abstained, risk, decided, *odd, *chosen, *further, ""]
