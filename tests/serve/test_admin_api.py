"""Tests of reload and rollback over HTTP."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests import bundles
from tests.serving import WHITE, Api

IMAGE = {"content": WHITE, "headers": {"content-type": "image/png"}}


@pytest.mark.parametrize("url", ["/v1/reload", "/v1/rollback"])
def test_they_are_disabled_by_default(tmp_path: Path, url: str):
    api = Api(tmp_path / "bundle")
    response = api("POST", url)
    assert response.status_code == 404 and "--allow-reload" in response.json()["error"]
    assert url not in api("GET", "/openapi.json").json()["paths"]


def test_reload_and_rollback(tmp_path: Path):
    api = Api(tmp_path / "bundle", allow_reload=True)
    old = api.service.bundle
    assert api("POST", "/v1/rollback").status_code == 409
    bundles.write(tmp_path / "bundle", classes=("off", "on"))
    answer = api("POST", "/v1/reload")
    assert answer.json() == {"version": api.service.bundle.version, "sha256": api.service.bundle.sha256}
    assert answer.json()["version"] != old.version
    assert api("POST", "/v1/predict", **IMAGE).json()["label"] == "on"
    assert api("POST", "/v1/rollback").json()["version"] == old.version
    assert api("POST", "/v1/predict", **IMAGE).json()["label"] == "bright"


@pytest.mark.parametrize(
    ("host", "origin", "refused"),
    [
        ("127.0.0.1:8000", None, False),
        ("127.0.0.1:8000", "http://127.0.0.1:8000", False),
        ("[::1]:8000", "http://[::1]:8000", False),
        ("localhost:8000", "http://localhost:8000", False),
        ("127.0.0.1:8000", "https://other.example", True),
        ("127.0.0.1:8000", "null", True),
        ("other.example:8000", "http://other.example:8000", True),  # a name that now leads to this machine
        ("other.example:8000", None, False),
    ],
)
def test_other_web_pages_are_refused_without_a_key(tmp_path: Path, host: str, origin: str | None, refused: bool):
    api = Api(tmp_path / "bundle", allow_reload=True)
    headers = {"host": host} | ({"origin": origin} if origin else {})
    assert api("POST", "/v1/reload", headers=headers).status_code == (403 if refused else 200)
    assert api("POST", "/v1/rollback", headers=headers).status_code == (403 if refused else 409)


def test_a_web_page_that_has_the_key_is_not_refused(tmp_path: Path):
    api = Api(tmp_path / "bundle", allow_reload=True, api_key="k" * 20)
    headers = {"origin": "https://other.example", "x-api-key": "k" * 20}
    assert api("POST", "/v1/reload", headers=headers).status_code == 200


def test_a_bad_bundle_is_refused_and_the_current_one_stays(tmp_path: Path):
    api = Api(tmp_path / "bundle", allow_reload=True)
    (tmp_path / "bundle" / "model.onnx").write_bytes(b"broken")
    answer = api("POST", "/v1/reload")
    assert answer.status_code == 422 and "model.onnx" in answer.json()["error"]
    assert api("POST", "/v1/predict", **IMAGE).json()["label"] == "bright"


def test_reloads_during_requests(tmp_path: Path):
    api = Api(tmp_path / "bundle", allow_reload=True)
    sound = (tmp_path / "bundle" / "model.onnx").read_bytes()

    async def conversation(client: httpx.AsyncClient) -> tuple[list[int], list[int]]:
        reloads, answers = [], []

        async def send() -> None:
            while len(reloads) < 10:
                answers.append((await client.post("/v1/predict", **IMAGE)).status_code)

        sending = asyncio.create_task(send())
        for number in range(10):
            (tmp_path / "bundle" / "model.onnx").write_bytes(b"broken" if number % 5 == 4 else sound)
            reloads.append((await client.post("/v1/reload")).status_code)
        await sending
        return reloads, answers

    reloads, answers = api.run(conversation)
    assert reloads == [200, 200, 200, 200, 422] * 2
    assert answers and set(answers) == {200}
