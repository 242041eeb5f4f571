"""What every request passes: key, refusal, account."""

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
from tests.serving import WHITE, Asked, busy

KEY = "correct-horse"
PICTURE = {"content": WHITE, "headers": {"content-type": "image/png"}}


@pytest.fixture
def ask(tmp_path: Path) -> Asked:
    return Asked(tmp_path / "bundle", queue=2)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return Asked(tmp_path_factory.mktemp("locked") / "bundle", api_key=KEY, allow_reload=True)


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
def test_without_the_key(locked: Asked, method: str, url: str, headers: dict[str, str]):
    answer = locked(method, url, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert KEY not in answer.text


@pytest.mark.parametrize(
    "headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer  {KEY}"}]
)
def test_with_the_key(locked: Asked, headers: dict[str, str]):
    assert locked("GET", "/v1/model", headers=headers).status_code == 200
    assert locked("POST", "/v2/models/toy/infer", headers=headers).status_code == 400  # and no more 401


@pytest.mark.parametrize(
    "url", ["/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"]
)
def test_what_needs_no_key(locked: Asked, url: str):
    assert locked("GET", url).status_code == 200


def test_the_openapi_document_says_where_the_key_is_needed(locked: Asked, ask: Asked):
    document = locked("GET", "/openapi.json").json()
    needing = {
        path
        for path, operations in document["paths"].items()
        if all(operation.get("security") for operation in operations.values())
    }
    assert {"/v1/predict", "/v1/reload", "/v2", "/v2/models/{name}/infer", "/metrics"} <= needing
    assert not needing & {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
    assert "401" in document["paths"]["/v1/predict"]["post"]["responses"]
    assert "securitySchemes" not in ask("GET", "/openapi.json").json()["components"]


def test_a_full_service_refuses_before_it_reads(ask: Asked):
    async def body():
        pytest.fail("the body was read")
        yield b""

    async def conversation(client: httpx.AsyncClient):
        async with busy(ask.service, pictures=2):
            for url in ("/v1/predict", "/v1/explain", "/v2/models/toy/infer"):
                answer = await client.post(url, content=body(), headers={"content-type": "image/png"})
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
                assert "full" in answer.json()["error"]
            for url in ("/health/live", "/health/ready", "/v1/model", "/metrics", "/v1/predict"):
                assert (await client.get(url)).status_code in (200, 405)
        assert (await client.post("/v1/predict", **PICTURE)).status_code == 200
        return (await client.get("/metrics")).text

    metrics = ask.within(conversation)
    assert "darkroom_shed_total 3.0" in metrics
    assert 'darkroom_requests_total{code="429",route="/v2/models/{name}/infer"} 1.0' in metrics


def test_what_takes_up_pictures_is_a_route(ask: Asked):
    assert set(ask("GET", "/openapi.json").json()["paths"]) >= WORK


def test_the_log_has_routes_and_no_more_of_a_request(ask: Asked):
    stream = io.StringIO()
    log = AccessLog("json", stream)
    ask.app = app.build(ask.service, log)
    ask("POST", "/v1/predict", params={"top_k": 1}, **PICTURE)
    ask("POST", "/v1/predict", files=[("files", ("secret.png", WHITE))] * 2)
    ask("GET", "/v2/models/secret")
    ask("GET", "/secret")
    log.close()
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(entry["method"], entry["route"], entry["code"], entry["pictures"]) for entry in entries] == [
        ("POST", "/v1/predict", 200, 1),
        ("POST", "/v1/predict", 200, 2),
        ("GET", "/v2/models/{name}", 404, 0),
        ("GET", "-", 404, 0),
    ]
    assert [entry["model"] for entry in entries] == [ask.service.bundle.version] * 2 + [None] * 2
    assert "secret" not in stream.getvalue() and "top_k" not in stream.getvalue()


def test_a_fault_is_answered_and_logged_and_the_service_stays_up(
    ask: Asked, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "darkroom.serve"):
        patch.setattr(ask.service, "_classify", broken)
        answer = ask("POST", "/v1/predict", **PICTURE)
    assert answer.status_code == 500
    assert answer.json() == {"error": "The service failed at this request; its log says why."}
    assert "a fault of ours" in caplog.text and "Traceback" in caplog.text
    assert ask("POST", "/v1/predict", **PICTURE).status_code == 200


def test_while_it_drains_it_answers_and_sends_clients_elsewhere(ask: Asked):
    ask.service.ready = False
    answer = ask("POST", "/v1/predict", **PICTURE)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert ask("GET", "/health/ready").status_code == 503


def test_what_is_no_http_goes_through(ask: Asked):
    seen = []

    async def inner(scope: dict, receive: object, send: object) -> None:
        seen.append(scope["type"])

    asyncio.run(Gate(inner, [], ask.service, AccessLog("off"))({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
