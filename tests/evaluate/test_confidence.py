import json
from pathlib import Path

import numpy as np
import yaml

from darkroom.evaluate import confidence
from darkroom.evaluate.config import EvaluateConfig

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["evaluate"]
SETTINGS = EvaluateConfig(**PARAMS)


def made(count: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (count, 3) float32 whose largest is mostly that of the label, and labels."""
    random = np.random.default_rng(count)
    labels = random.integers(3, size=count)
    logits = random.normal(size=(count, 3))
    logits[np.arange(count), labels] += 6
    return (logits * sharpness).astype(np.float32), labels


def test_what_is_fitted_is_written_as_json_and_measured():
    fitted = confidence.fit(*made(600), SETTINGS)
    assert list(fitted) == [
        "temperature",
        "threshold",
        "target_accuracy",
        "target_confidence",
        "validation_examples",
        "conformal",
    ]
    assert json.loads(json.dumps(fitted)) == fitted
    logits, labels = made(500)
    summary = confidence.summary(logits, labels, fitted, {"noise": np.zeros((10, 3), np.float32)})
    assert summary["abstention_threshold"] == fitted["threshold"] and summary["temperature"] == fitted["temperature"]
    assert summary["abstention_coverage"] == 1 and summary["ood_auroc"] == 1
    tables = confidence.tables(logits, labels, fitted, ("a", "b", "c"))
    assert set(tables) == {"reliability.csv", "risk_coverage.csv", "conformal.csv"}


def test_little_evidence_is_said_in_the_line():
    text = confidence.line(confidence.fit(*made(36), SETTINGS))
    assert text.startswith("temperature 1 (kept") and "no threshold could be shown: with 36 validation examples" in text
    assert "kept" not in confidence.line(confidence.fit(*made(600, 0.1), SETTINGS))
