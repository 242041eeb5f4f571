"""Export a classifier of rows of a table: a graph from raw columns to probabilities, and the columns."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darkroom.bundle import classifier, drift
from darkroom.bundle import tables as bundled
from darkroom.bundle.classifier import VARIANTS
from darkroom.bundle.manifest import Decision, TableManifest
from darkroom.columns import schema
from darkroom.columns.schema import FIRST
from darkroom.core import arrays
from darkroom.core.errors import DarkroomError
from darkroom.export import bundling, dynamic, gates
from darkroom.export.config import ExportConfig, Int8Config
from darkroom.export.graph import convert
from darkroom.export.raw_columns import ROWS, with_raw_columns
from darkroom.inputs.config import ImageConfig
from darkroom.models.checkpoints import Trained
from darkroom.reasons import shapley

ARRAYS = "data/arrays"
GOLDEN_ROWS = 8
CHECKED = 2000  # test rows that are read from raw values


class Tables:
    """The exported files of a trained network of rows, and their checks from raw values."""

    def __init__(
        self, trained: Trained, calibration: Mapping[str, Any], _: ImageConfig, settings: ExportConfig, seed: int
    ):
        self._trained, self._calibration, self._settings = trained, calibration, settings
        self._described = (Path(ARRAYS) / schema.FILE).read_bytes()
        self._schema = schema.parse(self._described)
        model = dynamic.Classifier(trained.network, calibration["temperature"])
        sizes = {"inputs": {0: torch.export.Dim("batch")}}
        program = torch.export.export(model.eval(), (torch.zeros(2, len(self._schema.columns)),), dynamic_shapes=sizes)
        graph = convert(program, sizes, ROWS, classifier.OUTPUTS, settings.opset)
        graphs = {"fp32": graph, "int8": dynamic.quantised(graph)}
        self.models = {
            variant: dynamic.contents(with_raw_columns(graph, self._schema.columns), trained, calibration)
            for variant, graph in graphs.items()
        }
        self._sessions = {
            variant: classifier.open_session(model, trained.threads) for variant, model in self.models.items()
        }
        self._test = np.array(trained.split("test").inputs)

    def require_parity(
        self, predict: Callable[[np.ndarray], np.ndarray], tolerance: float
    ) -> tuple[np.ndarray, dict[str, float]]:
        """As of images, on all test rows, and on some one at a time."""
        expected = predict(self._test)
        found = [gates.compare(expected, *bundled.answers(self._sessions["fp32"], self._schema, self._test), tolerance)]
        for row in range(0, len(self._test), max(1, len(self._test) // 100)):
            part = slice(row, row + 1)
            exported = bundled.answers(self._sessions["fp32"], self._schema, self._test[part])
            found.append(gates.compare(expected[part], *exported, tolerance))
        worst = max(found, key=lambda numbers: numbers["max_abs_difference"])
        return expected.argmax(1), worst | {"samples": len(self._test)}

    def measure_speedup(self) -> float:
        """As `gates.measure_speedup`, on one row."""
        return dynamic.speedup(self.models, bundled.feeds(self._schema, self._test[:1]))

    def classify_int8(self, _: np.ndarray, __: Int8Config) -> tuple[np.ndarray, np.ndarray]:
        """Indices (n,) and predicted classes (n,) of int8 for all test rows."""
        _, probabilities = bundled.answers(self._sessions["int8"], self._schema, self._test)
        return np.arange(len(self._test)), probabilities.argmax(1)

    def files(self) -> dict[str, bytes]:
        """The contents of the bundle's files by name; int8 is left out if it was taken out of `models`."""
        typical, file = shapley.background(arrays.read_split(ARRAYS, "train").inputs), io.BytesIO()
        np.save(file, typical, allow_pickle=False)
        return {
            **{VARIANTS[variant]: model for variant, model in self.models.items()},
            classifier.GOLDEN: dynamic.golden(self.models, bundled.feeds(self._schema, typical[:GOLDEN_ROWS])),
            schema.FILE: self._described,
            shapley.FILE: file.getvalue(),
        }

    def describe(self, evaluated: Mapping[str, Any], files: Mapping[str, bytes]) -> TableManifest:
        """The manifest of the bundle."""
        val = np.array(self._trained.split("val").inputs)
        probabilities = bundled.answers(self._sessions["fp32"], self._schema, val)[1]
        reference = drift.reference_by(bundled.features(self._schema), bundled.measured(val), probabilities)
        decision = self._calibration.get("decision")
        calibration = {name: value for name, value in self._calibration.items() if name != "decision"}
        common = bundling.common(self._trained, self._settings.opset, calibration, evaluated, reference, files)
        return TableManifest(**common, target=self._schema.target, decision=Decision(**decision) if decision else None)

    def require_preprocessing(self, _: TableManifest) -> dict[str, int]:
        """Raise DarkroomError unless raw values of test rows become those that the network was evaluated on."""
        rows, columns = self._test[:CHECKED], self._schema.columns
        for row in rows:
            given = {}
            for column, value in zip(columns, row.tolist(), strict=True):
                is_known = column.kind != "category" or value >= FIRST
                text = column.text(value) if is_known else {0: "", 1: "\0"}[int(value)]
                given[column.name] = value if column.kind == "number" else text
            found, _ = self._schema.row(given)
            dates = np.array([column.kind == "date" for column in columns])
            same = np.isclose(found, row, atol=1, equal_nan=True) if dates.any() else found == row
            if not np.where(dates, same, (found == row) | (np.isnan(found) & np.isnan(row))).all():
                raise DarkroomError("Test rows have other values than in data/arrays: run `dvc repro`.")
        return {}

    def measure_questions(self) -> dict[str, float]:
        """Rows of a table have no frequently asked questions."""
        return {}
