"""Reload and rollback over HTTP."""

import asyncio
from pathlib import Path

import httpx

from tests import bundles
from tests.serving import WHITE, Asked

PICTURE = {"content": WHITE, "headers": {"content-type": "image/png"}}


def test_they_are_off_unless_allowed(tmp_path: Path):
    ask = Asked(tmp_path / "bundle")
    assert ask("POST", "/v1/reload").status_code == ask("POST", "/v1/rollback").status_code == 404
    assert "/v1/reload" not in ask("GET", "/openapi.json").json()["paths"]


def test_reload_and_rollback(tmp_path: Path):
    ask = Asked(tmp_path / "bundle", allow_reload=True)
    old = ask.service.bundle
    assert ask("POST", "/v1/rollback").status_code == 409
    bundles.write(tmp_path / "bundle", classes=("off", "on"))
    answer = ask("POST", "/v1/reload")
    assert answer.json() == {"version": ask.service.bundle.version, "sha256": ask.service.bundle.sha256}
    assert answer.json()["version"] != old.version
    assert ask("POST", "/v1/predict", **PICTURE).json()["label"] == "on"
    assert ask("POST", "/v1/rollback").json()["version"] == old.version
    assert ask("POST", "/v1/predict", **PICTURE).json()["label"] == "bright"


def test_a_bad_bundle_is_told_in_a_sentence_and_the_old_one_serves_on(tmp_path: Path):
    ask = Asked(tmp_path / "bundle", allow_reload=True)
    (tmp_path / "bundle" / "model.onnx").write_bytes(b"broken")
    answer = ask("POST", "/v1/reload")
    assert answer.status_code == 422 and "model.onnx is not the file" in answer.json()["error"]
    assert ask("POST", "/v1/predict", **PICTURE).json()["label"] == "bright"


def test_reloads_beside_requests(tmp_path: Path):
    ask = Asked(tmp_path / "bundle", allow_reload=True)
    sound = (tmp_path / "bundle" / "model.onnx").read_bytes()

    async def conversation(client: httpx.AsyncClient) -> tuple[list[int], list[int]]:
        reloads, answers = [], []

        async def press() -> None:
            while len(reloads) < 10:
                answers.append((await client.post("/v1/predict", **PICTURE)).status_code)

        pressing = asyncio.create_task(press())
        for number in range(10):
            (tmp_path / "bundle" / "model.onnx").write_bytes(b"broken" if number % 5 == 4 else sound)
            reloads.append((await client.post("/v1/reload")).status_code)
        await pressing
        return reloads, answers

    reloads, answers = ask.within(conversation)
    assert reloads == [200, 200, 200, 200, 422] * 2
    assert answers and set(answers) == {200}
