import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from darkroom.evaluate import (
    calibration_error,
    class_scores,
    confidence,
    label_errors,
    metrics,
    out_of_scope,
    ranking,
)
from darkroom.evaluate.config import EvaluateConfig
from darkroom.evaluate.probabilities import Probabilities, largest, of_labels
from darkroom.models import logits as models_logits
from darkroom.models.inference import probabilities
from darkroom.statistics import intervals
from tests.repository import ROOT

SETTINGS = EvaluateConfig(**yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["evaluate"])


def case(count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(count, classes)).astype(np.float32), random.integers(classes, size=count)


def evaluated(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """All that is computed from logits."""
    names = [f"class {number}" for number in range(logits.shape[1])]
    fitted = confidence.fit(logits, labels, SETTINGS) | {"temperature": 0.7}
    calibrated, ids = Probabilities(logits, 0.7), labels.astype(str)
    return {
        **metrics.summary(logits, labels, 3),
        **fitted,
        **confidence.summary(logits, labels, fitted, {"noise": logits[:5]}),
        **confidence.tables(logits, labels, fitted, names),
        "scopes": out_of_scope.table(logits, logits[:7], 0.7),
        "suspects": label_errors.table(Probabilities(logits), labels, ids, names),
        "predictions": metrics.predictions(calibrated, labels, ids, names),
        "classes": metrics.per_class(logits, labels, names),
    }


def test_rows_are_those_of_the_softmax():
    logits, labels = case(6, 4)
    table, expected = Probabilities(logits, 2.0), probabilities(logits / 2.0)
    assert table.shape == (6, 4) and len(table) == 6
    np.testing.assert_array_equal(table[2:5], expected[2:5])
    for some in (table, expected):
        assert largest(some)[0].tolist() == expected.max(1).tolist()
        assert largest(some)[1].tolist() == expected.argmax(1).tolist()
        assert of_labels(some, labels).tolist() == expected[np.arange(6), labels].tolist()


def test_no_number_depends_on_the_blocks_or_on_where_the_logits_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    given, labels = case(200, 9)
    expected = evaluated(given, labels)
    for name, value in (("BLOCK", 100), ("IN_MEMORY", 0)):
        monkeypatch.setattr(models_logits, name, value)
    monkeypatch.setattr(ranking, "COLUMNS", 400)
    mapped = models_logits.empty(given.shape)
    mapped[:] = given
    for name, value in evaluated(mapped, labels).items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, expected[name], check_exact=True)
        else:
            assert value == expected[name], name


def test_memory_is_that_of_a_block(monkeypatch: pytest.MonkeyPatch):
    """All probabilities would take 4 MB."""
    for module, name, value in (
        (models_logits, "BLOCK", 2**12),
        (ranking, "COLUMNS", 2**14),
        (class_scores, "CHUNK", 2**12),  # bootstraps
        (intervals, "CHUNK", 2**12),
        (calibration_error, "RESAMPLES", 50),
    ):
        monkeypatch.setattr(module, name, value)
    logits, labels = case(500, 1000)
    tracemalloc.start()
    try:
        evaluated(logits, labels)
        assert tracemalloc.get_traced_memory()[1] < 1.5e6
    finally:
        tracemalloc.stop()
