"""What the tables of all classifiers have in common: the classes, the prediction set, and how they are written."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from tqdm import tqdm

from darkroom.bundle.classifier import Bundle
from darkroom.bundle.manifest import SetKind
from darkroom.core.spelling import counted
from darkroom.predict.table import line, opened, printable

Example = tuple[str, Any]  # the name of its row, and what is classified


def columns(first: Sequence[str], top_k: int, sets: SetKind | None) -> list[str]:
    """The header of a table: the columns `first`, the set if asked for, and the classes of rank 2 to `top_k`."""
    further = [f"{name}_{rank}" for rank in range(2, top_k + 1) for name in ("label", "confidence")]
    return [*first, *(["set"] if sets else []), *further, "error", "bundle"]


def cells(bundle: Bundle, probabilities: np.ndarray, top_k: int, sets: SetKind | None) -> tuple[list[str], list[str]]:
    """For probabilities (K,), the cells of label, confidence and abstained; and of the set and further classes."""
    manifest, best = bundle.manifest, np.argsort(-probabilities, kind="stable")[:top_k]
    label, confidence, *further = [
        text for index in best for text in (manifest.classes[index], f"{probabilities[index]:.6g}")
    ]
    chosen = []
    if sets:
        names = [manifest.classes[index] for index in manifest.conformal.prediction_set(probabilities, sets)]
        chosen = [json.dumps(names, ensure_ascii=False)]
    abstained = str(manifest.withholds(float(probabilities[best[0]]))).lower()
    return [label, confidence, abstained], [*chosen, *further]


def write(
    bundle: Bundle,
    options: argparse.Namespace,
    header: list[str],
    version: str,
    examples: Iterable[Example],
    classified: Callable[[list[Example]], Iterator[list[str]]],
    block: int,
    noun: str,
) -> int:
    """Write a row of each example that has none yet; return the exit code of `batch.main`.

    `classified` gives the rows of at most `block` examples, without the version.
    """
    with opened(options.output, header, version) as (table, earlier):
        new = (one for one in examples if one[0] not in earlier)
        rows, errors = len(earlier.hashes), earlier.errors
        with tqdm(desc="predict", unit=noun, disable=None) as bar:
            while some := list(islice(new, block)):
                for found in classified(some):
                    table.write(line([*found, version]))
                    errors += bool(found[-1])
                table.flush()
                rows += len(some)
                bar.update(len(some))
    summary = f"{options.output}: {counted(rows, noun)}; {errors} unusable (see column error)"
    return finish(bundle, options.output, summary, rows, errors)


def finish(bundle: Bundle, output: str, summary: str, rows: int, errors: int) -> int:
    """Print the summary, and that there is no threshold, if so; return the exit code: 1 if no row is usable."""
    print(printable(summary), file=sys.stderr if output == "-" else sys.stdout)
    if bundle.manifest.threshold is None:
        print(f"{bundle.manifest.why_no_threshold()} So abstained is true in every row.", file=sys.stderr)
    return int(errors == rows)
