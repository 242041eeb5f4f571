"""Tests of the middleware: API key, refusals, log and metrics."""

import asyncio
import io
import json
import logging
from pathlib import Path

import httpx
import pytest

from darkroom.serve import app
from darkroom.serve.access_log import AccessLog
from darkroom.serve.gate import WORK, Gate
from tests import history_bundles
from tests.serving import WHITE, Api, busy

KEY = "correct-horse"
IMAGE = {"content": WHITE, "headers": {"content-type": "image/png"}}


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path / "bundle", queue=2)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Api:
    return Api(tmp_path_factory.mktemp("locked") / "bundle", api_key=KEY, allow_reload=True)


GUARDED = [
    ("POST", "/v1/predict"),
    ("GET", "/v1/model"),
    ("POST", "/v1/reload"),
    ("GET", "/v2"),
    ("GET", "/v2/models/toy"),
    ("GET", "/metrics"),
    ("GET", "/v1/no"),
]


@pytest.mark.parametrize(("method", "url"), GUARDED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": ""},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer no", "X-API-Key": KEY},
    ],
)
def test_without_the_key(locked: Api, method: str, url: str, headers: dict[str, str]):
    answer = locked(method, url, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert KEY not in answer.text


@pytest.mark.parametrize(
    "headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer  {KEY}"}]
)
def test_with_the_key(locked: Api, headers: dict[str, str]):
    assert locked("GET", "/v1/model", headers=headers).status_code == 200
    assert locked("POST", "/v2/models/toy/infer", headers=headers).status_code == 400  # not 401


@pytest.mark.parametrize(
    "url", ["/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"]
)
def test_paths_that_need_no_key(locked: Api, url: str):
    assert locked("GET", url).status_code == 200


def test_the_openapi_document_marks_the_operations_that_need_the_key(locked: Api, api: Api):
    document = locked("GET", "/openapi.json").json()
    guarded = {
        path
        for path, operations in document["paths"].items()
        if all(operation.get("security") for operation in operations.values())
    }
    assert {"/v1/predict", "/v1/reload", "/v2", "/v2/models/{name}/infer", "/metrics"} <= guarded
    assert not guarded & {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
    assert "401" in document["paths"]["/v1/predict"]["post"]["responses"]
    assert "securitySchemes" not in api("GET", "/openapi.json").json()["components"]


def test_a_full_service_refuses_before_it_reads_the_body(api: Api):
    async def body():
        pytest.fail("the body was read")
        yield b""

    async def conversation(client: httpx.AsyncClient):
        async with busy(api.service, images=2):
            for url in ("/v1/predict", "/v1/explain", "/v2/models/toy/infer"):
                answer = await client.post(url, content=body(), headers={"content-type": "image/png"})
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            for url in ("/health/live", "/health/ready", "/v1/model", "/metrics", "/v1/predict"):
                assert (await client.get(url)).status_code in (200, 405)
        assert (await client.post("/v1/predict", **IMAGE)).status_code == 200
        return (await client.get("/metrics")).text

    metrics = api.run(conversation)
    assert "darkroom_shed_total 3.0" in metrics
    assert 'darkroom_requests_total{code="429",route="/v2/models/{name}/infer"} 1.0' in metrics


def test_routes_that_process_examples_exist(api: Api, tmp_path: Path):
    histories = Api(tmp_path / "histories", write=history_bundles.write)
    assert set().union(*(one("GET", "/openapi.json").json()["paths"] for one in (api, histories))) >= WORK


def test_the_log_contains_routes_but_no_request_data(api: Api):
    stream = io.StringIO()
    log = AccessLog("json", stream)
    api.app = app.build(api.service, log)
    api("POST", "/v1/predict", params={"top_k": 1}, **IMAGE)
    api("POST", "/v1/predict", files=[("files", ("secret.png", WHITE))] * 2)
    api("GET", "/v2/models/secret")
    api("GET", "/secret")
    log.close()
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(entry["method"], entry["route"], entry["code"], entry["images"]) for entry in entries] == [
        ("POST", "/v1/predict", 200, 1),
        ("POST", "/v1/predict", 200, 2),
        ("GET", "/v2/models/{name}", 404, 0),
        ("GET", "-", 404, 0),
    ]
    assert [entry["model"] for entry in entries] == [api.service.bundle.version] * 2 + [None] * 2
    assert "secret" not in stream.getvalue() and "top_k" not in stream.getvalue()


def test_an_internal_error_is_reported_and_logged(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the cause")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "darkroom.serve"):
        patch.setattr(api.service, "_classify", broken)
        answer = api("POST", "/v1/predict", **IMAGE)
    assert answer.status_code == 500
    assert list(answer.json()) == ["error"] and "the cause" not in answer.text
    assert "the cause" in caplog.text and "Traceback" in caplog.text
    assert api("POST", "/v1/predict", **IMAGE).status_code == 200


def test_while_draining_it_responds_and_closes_connections(api: Api):
    api.service.ready = False
    answer = api("POST", "/v1/predict", **IMAGE)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert api("GET", "/health/ready").status_code == 503


def test_other_protocols_pass_through(api: Api):
    seen = []

    async def inner(scope: dict, receive: object, send: object) -> None:
        seen.append(scope["type"])

    asyncio.run(Gate(inner, [], api.service, AccessLog("off"))({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
