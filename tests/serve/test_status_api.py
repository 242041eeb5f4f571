"""Tests of the probes, the description of the model, and the metrics."""

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import bundles
from tests.serving import BLACK, WHITE, Api, busy, png


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path / "bundle")


def test_probes(api: Api):
    assert api("GET", "/health/live").json() == {"status": "live"}
    assert api("GET", "/health/ready").json() == {"ready": True}
    api.service.ready = False
    answer = api("GET", "/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False})
    assert api("GET", "/health/live").status_code == 200


def test_readiness_while_all_workers_are_past_the_time_limit(tmp_path: Path):
    api = Api(tmp_path / "bundle", timeout=0.05)

    async def conversation(client: httpx.AsyncClient) -> None:
        async def statuses() -> list[int]:
            urls = ("/health/ready", "/v2/health/ready", "/v2/models/toy/ready", "/health/live")
            return [(await client.get(url)).status_code for url in urls]

        async with busy(api.service):
            while await statuses() != [503, 400, 400, 200]:
                await asyncio.sleep(0.01)
            late = await client.post("/v1/predict", content=WHITE, headers={"content-type": "image/png"})
            assert late.status_code == 504
        while await statuses() != [200, 200, 200, 200]:
            await asyncio.sleep(0.01)

    api.run(conversation)


def test_readiness_while_one_of_two_workers_is_past_the_time_limit(tmp_path: Path):
    api = Api(tmp_path / "bundle", timeout=0.01, threads=2)

    async def conversation(client: httpx.AsyncClient) -> int:
        async with busy(api.service):
            await asyncio.sleep(0.1)
            return (await client.get("/health/ready")).status_code

    assert api.run(conversation) == 200


def test_the_model_is_described_without_its_reference(api: Api):
    described = api("GET", "/v1/model").json()
    bundle = api.service.bundle
    assert (described["version"], described["sha256"], described["variant"]) == (bundle.version, bundle.sha256, "fp32")
    assert described["classes"] == list(bundles.CLASSES) and described["shape"] == [4, 4, 1]
    assert "reference" not in described


def metrics(api: Api) -> dict[tuple[str, ...], float]:
    """All samples by name and label values; label values are in the order of the label names."""
    answer = api("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics(api: Api):
    for image in (WHITE, BLACK, png(64), b"bad"):
        api("POST", "/v1/predict", content=image, headers={"content-type": "image/png"})
    found = metrics(api)
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
        found["darkroom_images_in_flight",] == found["darkroom_images_running",] == found["darkroom_shed_total",] == 0
    )
    assert found["darkroom_images_limit",] == api.service.settings.queue
    assert found["darkroom_model_info", api.service.bundle.sha256, api.service.bundle.version] == 1


def test_drift_is_reported_after_enough_images(tmp_path: Path):
    api = Api(tmp_path / "bundle", manifest={"reference": bundles.reference(2000)}, queue=2000)
    assert not [sample for sample in metrics(api) if sample[0] == "darkroom_drift"]
    asyncio.run(api.service.infer(np.full((2000, 4, 4, 1), 255, np.uint8)))
    found = metrics(api)
    assert {sample[1] for sample in found if sample[0] == "darkroom_drift"} == {"brightness", "confidence", "class"}
    assert found["darkroom_drift", "brightness"] > 1 and found["darkroom_drift_p_value", "brightness"] < 1e-9
    assert found["darkroom_drift_images",] == 2000 and found["darkroom_drift_windows",] == 1


def test_drift_as_json(tmp_path: Path):
    api = Api(tmp_path / "bundle", manifest={"reference": bundles.reference(2000)}, queue=2000)
    features = ("brightness", "confidence", "class")
    unknown = {"index": None, "p_value": None}
    assert api("GET", "/v1/drift").json() == {
        "images": 0, "window": 2000, "windows": 0, "features": dict.fromkeys(features, unknown)
    }  # fmt: skip
    asyncio.run(api.service.infer(np.full((1999, 4, 4, 1), 255, np.uint8)))
    early = api("GET", "/v1/drift").json()
    assert early["images"] == 1999 and early["windows"] == 0
    assert early["features"]["brightness"]["index"] > 1 and early["features"]["brightness"]["p_value"] is None
    asyncio.run(api.service.infer(np.full((1, 4, 4, 1), 255, np.uint8)))
    found = api("GET", "/v1/drift").json()
    assert found["images"] == 2000 and found["windows"] == 1
    assert all(found["features"][feature]["p_value"] < 1e-9 for feature in features)


def test_each_service_has_its_own_metrics(api: Api, tmp_path: Path):
    other = Api(tmp_path / "other")
    api("GET", "/v1/model")
    assert ("darkroom_requests_total", "200", "/v1/model") not in metrics(other)
