"""Classify tables of texts, for `darkroom.predict.batch`: one row per text."""

import argparse
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from darkroom.bundle.classifier import Bundle
from darkroom.bundle.texts import TextClassifier
from darkroom.core.errors import DarkroomError
from darkroom.datasets import listing, tables
from darkroom.predict import classifications, table
from darkroom.tokens import text
from darkroom.tokens.text import Unusable

BLOCK = 256  # texts at a time
FAQ = ("faq_question", "faq_answer", "faq_similarity")  # of the most similar question


def run(bundle: Bundle, paths: Sequence[Path], options: argparse.Namespace, version: str) -> int:
    """Classify the tables at `paths`, files or folders of tables; returns the exit code as of `batch.main`."""
    files = table.inputs(paths, tables.find, options.output)
    if not files:
        raise DarkroomError(f"{', '.join(map(str, paths))}: no tables found ({', '.join(tables.SUFFIXES)}).")
    classifier = TextClassifier(bundle)
    first = ["row", "label", "confidence", "abstained", "answer", *(FAQ if classifier.faq else ())]
    header = classifications.columns(first, options.top_k, options.sets)
    classified = partial(_classified, classifier, options, len(header) - 3)
    return classifications.write(bundle, options, header, version, _texts(files), classified, BLOCK, "text")


def _texts(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for file in files:
        for number, row in enumerate(tables.read(file, labelled=False), 1):
            yield f"{os.fspath(file)}:{number}", "" if listing.is_absent(row["text"]) else str(row["text"])


def _classified(
    classifier: TextClassifier, options: argparse.Namespace, empty: int, block: Sequence[tuple[str, str]]
) -> Iterator[list[str]]:
    """The row of each text, without the bundle's version; one that cannot be used has `empty` cells and the reason."""
    found: list[str | Unusable] = []
    for _, one in block:
        try:
            found.append(text.clean(one))
        except Unusable as reason:
            found.append(reason)
    usable = [one for one in found if isinstance(one, str)]
    answered = iter(_answered(classifier, usable) if usable else ())
    for (name, _), one in zip(block, found, strict=True):
        if isinstance(one, Unusable):
            yield [name, *[""] * empty, str(one)]
            continue
        probabilities, similar = next(answered)
        best, further = classifications.cells(classifier.bundle, probabilities, options.top_k, options.sets)
        withheld = classifier.bundle.manifest.withholds(float(probabilities.max()))
        answer = None if withheld else classifier.answer(best[0], options.language)
        yield [name, *best, answer or "", *similar, *further, ""]


def _answered(classifier: TextClassifier, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, list[str]]]:
    """The probabilities (K,) of each text, and the values of the columns FAQ, if the bundle has such questions."""
    _, probabilities, embeddings = classifier.run(classifier.tokenizer.ids(texts)[0])
    if embeddings is None:
        yield from ((one, []) for one in probabilities)
        return
    for one, nearest in zip(probabilities, classifier.faq.nearest(embeddings), strict=True):
        yield one, [nearest["question"], nearest["answer"], f"{nearest['similarity']:.6g}"]
