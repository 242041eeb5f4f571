"""Run the exported classifier of rows of a table: a bundle as in `classifier`, whose model takes raw columns.

model.onnx      numbers (batch, c) float32, NaN where missing, and categories (batch, k) of strings, "" where missing,
                in the order of columns.json, dates as days since 1970 -> logits and probabilities, each (batch, K)
columns.json    the columns: names, categories, and ranges of the training rows (darkroom/columns/schema.py)
background.npy  typical rows (n, C) float32, to explain predictions by; their values are of different training rows
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from onnxruntime import InferenceSession

from darkroom.bundle.classifier import CATEGORIES, NUMBERS, OUTPUTS, REMEDY, Bundle
from darkroom.columns import schema
from darkroom.columns.schema import Schema
from darkroom.core.errors import DarkroomError
from darkroom.reasons import shapley

BATCH = 2048  # rows at a time
_UNKNOWN = " unknown"  # no category begins with a blank; a NUL would end the text where an array holds its characters


@dataclass(frozen=True)
class Reason:
    """What a column of a row adds to the log-odds of a class."""

    column: str
    value: str  # "" if it is missing
    contribution: float


@dataclass(frozen=True)
class TableClassifier:
    """A bundle of rows of a table, ready to run. Thread-safe."""

    bundle: Bundle

    @cached_property
    def schema(self) -> Schema:
        """The columns."""
        return schema.parse(self.bundle.others[schema.FILE])

    @cached_property
    def typical(self) -> np.ndarray:
        """Typical rows (n, C) float32; raises DarkroomError if the file is not valid."""
        try:
            rows = np.lib.format.read_array(io.BytesIO(self.bundle.others[shapley.FILE]), allow_pickle=False)
            if rows.dtype != np.float32 or rows.shape[1:] != (len(self.schema.columns),) or not len(rows):
                raise ValueError(f"dtype {rows.dtype} and shape {rows.shape}")
            return rows
        except ValueError as error:
            raise DarkroomError(f"{shapley.FILE} does not hold rows of the table ({error}): {REMEDY}.") from None

    def prepare(self) -> None:
        """Read all files now rather than with the first row; raises DarkroomError if one is invalid."""
        len(self.typical)

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, each (N, K) float32, of rows (N, C) as of `Schema.row`, N at least 1."""
        return answers(self.bundle.session, self.schema, rows)

    def reasons(self, row: np.ndarray, label: int, count: int) -> list[Reason]:
        """The columns of a row (C,) that add most to the log-odds of a class, at most `count`, the most first."""

        def score(rows: np.ndarray) -> np.ndarray:
            return shapley.log_odds(self.predict(rows)[0] / self.bundle.manifest.temperature, label)

        found, _ = shapley.contributions(score, row, self.typical)
        columns = self.schema.columns
        return [
            Reason(columns[index].name, columns[index].text(float(row[index])), float(found[index]))
            for index in np.argsort(-found, kind="stable")[:count].tolist()
            if found[index] > 0
        ]


def answers(session: InferenceSession, columns: Schema, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `TableClassifier.predict`, for a model that is not in a bundle yet."""
    parts = [session.run(OUTPUTS, feeds(columns, rows[start : start + BATCH])) for start in range(0, len(rows), BATCH)]
    logits, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits, probabilities


def feeds(columns: Schema, rows: np.ndarray) -> Mapping[str, np.ndarray]:
    """The inputs of the model for rows (N, C) as of `Schema.row`."""
    kinds = np.array([column.kind == "category" for column in columns.columns])
    found: dict[str, np.ndarray] = {}
    if not kinds.all():
        found[NUMBERS] = np.ascontiguousarray(rows[:, ~kinds])
    if kinds.any():
        names = [
            np.array(["", _UNKNOWN, *column.categories], dtype=object)[rows[:, index].astype(np.int64)]
            for index, column in enumerate(columns.columns)
            if kinds[index]
        ]
        found[CATEGORIES] = np.stack(names, axis=1)
    return found


def measured(rows: np.ndarray) -> np.ndarray:
    """What the drift watch sees of rows (N, C): their values, -inf where missing."""
    return np.where(np.isnan(rows), -np.inf, rows)


def features(columns: Schema) -> list[str]:
    """The names of the features that the drift watch compares."""
    return [*(f"column.{name}" for name in columns.names), "confidence", "class"]
