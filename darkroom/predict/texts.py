"""Classify tables of texts, for `darkroom.predict.batch`: one row per text."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from darkroom.bundle.classifier import Bundle
from darkroom.bundle.manifest import SetKind
from darkroom.bundle.texts import TextClassifier
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.datasets import tables
from darkroom.predict.table import line, opened
from darkroom.tokens import text
from darkroom.tokens.text import Unusable

BLOCK = 256  # texts at a time
FAQ = ("question", "answer", "similarity")  # of the most similar question


def run(bundle: Bundle, paths: Sequence[Path], options: argparse.Namespace, version: str) -> int:
    """Classify the tables at `paths`, files or folders of tables; returns the exit code as of `batch.main`."""
    files = [file for path in paths for file in (tables.find(path) if path.is_dir() else [path])]
    if not files:
        raise DarkroomError(f"{', '.join(map(str, paths))}: no tables found ({', '.join(tables.SUFFIXES)}).")
    classifier, rows, errors = TextClassifier(bundle), 0, 0
    header = columns(options.top_k, options.sets, classifier.faq is not None)
    with opened(options.output, header, version) as (table, earlier):
        given = ((name, one) for name, one in _texts(files) if name not in earlier)
        rows, errors = len(earlier.hashes), earlier.errors
        with tqdm(desc="predict", unit="text", disable=None) as bar:
            while block := list(islice(given, BLOCK)):
                for found in _classified(classifier, block, options.top_k, options.sets, options.language):
                    table.write(line([*found, version]))
                    errors += bool(found[-1])
                table.flush()
                rows += len(block)
                bar.update(len(block))
    where = sys.stderr if options.output == "-" else sys.stdout
    print(f"{options.output}: {counted(rows, 'text')}; {errors} unusable (see column error)", file=where)
    if bundle.manifest.threshold is None:
        print(f"{bundle.manifest.why_no_threshold()} So abstained is true in every row.", file=sys.stderr)
    return int(errors == rows)


def columns(top_k: int, sets: SetKind | None, has_faq: bool) -> list[str]:
    """The header: row is the table and the number of the row."""
    further = [f"{name}_{rank}" for rank in range(2, top_k + 1) for name in ("label", "confidence")]
    similar = [f"faq_{name}" for name in FAQ] if has_faq else []
    first = ["row", "label", "confidence", "abstained", "answer", *similar]
    return [*first, *(["set"] if sets else []), *further, "error", "bundle"]


def _texts(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for file in files:
        for number, row in enumerate(tables.read(file, labelled=False), 1):
            yield f"{os.fspath(file)}:{number}", str(row["text"] or "")


def _classified(
    classifier: TextClassifier, block: Sequence[tuple[str, str]], top_k: int, sets: SetKind | None, language: str
) -> Iterator[list[str]]:
    """The row of each text, without the bundle's version; the answers are as of the service."""
    found: list[str | Unusable] = []
    for _, one in block:
        try:
            found.append(text.clean(one))
        except Unusable as reason:
            found.append(reason)
    usable = [one for one in found if isinstance(one, str)]
    answered = iter(_answered(classifier, usable) if usable else ())
    manifest = classifier.bundle.manifest
    empty = len(columns(top_k, sets, classifier.faq is not None)) - 3
    for (name, _), one in zip(block, found, strict=True):
        if isinstance(one, Unusable):
            yield [name, *[""] * empty, str(one)]
            continue
        probabilities, similar = next(answered)
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        label, confidence, *further = [
            value for index in best for value in (manifest.classes[index], f"{probabilities[index]:.6g}")
        ]
        abstained = manifest.withholds(float(probabilities[best[0]]))
        answer = "" if abstained else classifier.answer(label, language) or ""
        chosen = []
        if sets:
            names = [manifest.classes[index] for index in manifest.conformal.prediction_set(probabilities, sets)]
            chosen = [json.dumps(names, ensure_ascii=False)]
        yield [name, label, confidence, str(abstained).lower(), answer, *similar, *chosen, *further, ""]


def _answered(classifier: TextClassifier, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, list[str]]]:
    """The probabilities (K,) of each text, and the values of the columns FAQ, if the bundle has such questions."""
    _, probabilities, embeddings = classifier.run(classifier.tokenizer.ids(texts)[0])
    if embeddings is None:
        yield from ((one, []) for one in probabilities)
        return
    for one, nearest in zip(probabilities, classifier.faq.nearest(embeddings), strict=True):
        yield one, [nearest["question"], nearest["answer"], f"{nearest['similarity']:.6g}"]
