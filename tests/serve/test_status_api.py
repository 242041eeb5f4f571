"""Probes, the description of the model, metrics."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import bundles
from tests.serving import BLACK, WHITE, Asked, png


@pytest.fixture
def ask(tmp_path: Path) -> Asked:
    return Asked(tmp_path / "bundle")


def test_probes(ask: Asked):
    assert ask("GET", "/health/live").json() == {"status": "live"}
    assert ask("GET", "/health/ready").json() == {"ready": True}
    ask.service.ready = False
    answer = ask("GET", "/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False})
    assert ask("GET", "/health/live").status_code == 200


def test_the_model_is_described_without_its_reference(ask: Asked):
    described = ask("GET", "/v1/model").json()
    bundle = ask.service.bundle
    assert (described["version"], described["sha256"], described["variant"]) == (bundle.version, bundle.sha256, "fp32")
    assert described["classes"] == list(bundles.CLASSES) and described["shape"] == [4, 4, 1]
    assert "reference" not in described


def metrics(ask: Asked) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, in the order of their names."""
    answer = ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics(ask: Asked):
    for picture in (WHITE, BLACK, png(64), b"bad"):
        ask("POST", "/v1/predict", content=picture, headers={"content-type": "image/png"})
    found = metrics(ask)
    assert found["darkroom_requests_total", "200", "/v1/predict"] == 3
    assert found["darkroom_requests_total", "422", "/v1/predict"] == 1
    assert found["darkroom_request_seconds_count", "/v1/predict"] == 4
    assert (
        found["darkroom_decode_seconds_count",]
        == found["darkroom_inference_seconds_count",]
        == found["darkroom_confidence_count",]
        == 3
    )
    assert (
        found["darkroom_predictions_total", "bright"]
        == found["darkroom_predictions_total", "medium"]
        == found["darkroom_predictions_total", "dark"]
        == 1
    )
    assert found["darkroom_abstentions_total",] == 1
    assert (
        found["darkroom_pictures_in_flight",]
        == found["darkroom_pictures_running",]
        == found["darkroom_shed_total",]
        == 0
    )
    assert found["darkroom_pictures_limit",] == ask.service.settings.queue
    assert found["darkroom_model_info", ask.service.bundle.sha256, ask.service.bundle.version] == 1


def test_drift_is_told_once_enough_was_seen(tmp_path: Path):
    ask = Asked(tmp_path / "bundle", manifest={"reference": bundles.reference(2000)}, queue=2000)
    assert not [sample for sample in metrics(ask) if sample[0] == "darkroom_drift"]
    asyncio.run(ask.service.infer(np.full((2000, 4, 4, 1), 255, np.uint8)))
    found = metrics(ask)
    assert {sample[1] for sample in found if sample[0] == "darkroom_drift"} == {"brightness", "confidence", "class"}
    assert found["darkroom_drift", "brightness"] > 1


def test_each_service_counts_for_itself(ask: Asked, tmp_path: Path):
    other = Asked(tmp_path / "other")
    ask("GET", "/v1/model")
    assert ("darkroom_requests_total", "200", "/v1/model") not in metrics(other)
