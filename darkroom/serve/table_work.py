"""Classify rows of a table in a worker thread."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from darkroom.bundle.tables import TableClassifier, measured
from darkroom.columns.schema import Remarks, Unusable
from darkroom.serve.service import Served
from darkroom.serve.telemetry import Telemetry

T = TypeVar("T")
Found = tuple[np.ndarray, Remarks, np.ndarray] | Unusable


def classify(
    telemetry: Telemetry,
    served: Served,
    rows: Sequence[Mapping[str, Any]],
    result: Callable[[TableClassifier, Found], T],
) -> list[T]:
    """result(classifier, found) for each row, by names of columns: one that cannot be used does not affect the others.

    `found` is the values (C,) float32, what is odd about them, and the probabilities (K,) float32; or why the row
    cannot be used.
    """
    found: dict[int, Any] = {}
    for number, given in enumerate(rows):
        try:
            found[number] = served.tables.schema.row(given)
        except Unusable as reason:
            found[number] = reason
    usable = [number for number, one in found.items() if isinstance(one, tuple)]
    if usable:
        values, started = np.stack([found[number][0] for number in usable]), perf_counter()
        _, probabilities = served.tables.predict(values)
        telemetry.inferred(perf_counter() - started)
        telemetry.predicted(served.bundle, probabilities)
        served.see(measured(values), probabilities)
        for number, one in zip(usable, probabilities, strict=True):
            telemetry.odd(found[number][1])
            found[number] = (*found[number], one)
    return [result(served.tables, found[number]) for number in range(len(rows))]
