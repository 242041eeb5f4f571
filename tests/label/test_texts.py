"""The label page with texts."""

import asyncio
import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from darkroom.label import app, examples
from darkroom.label.examples import Packed
from darkroom.label.guess import Guesses
from darkroom.label.journal import Journal
from darkroom.label.session import Session, key
from darkroom.label.texts import Texts
from tests import texts

HOSTILE = "<script>alert(1)</script> איפה & 💳🏽?"
FOLDER = Path("data/datasets/mine")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    texts.make(tmp_path, [(HOSTILE, "", "")])
    monkeypatch.chdir(tmp_path)


def test_a_text_is_sent_as_plain_text():
    packed = Packed()
    journal = Journal(FOLDER, Path("toy.lock"), "anna")
    chosen = examples.unlabelled(packed)
    session = Session(journal, chosen, packed.manifest.classes, packed.label, False)
    built = app.build(session, Guesses(Texts(packed), packed.manifest.classes), {"by": "anna"})

    async def conversation() -> tuple[httpx.Response, dict]:
        transport = httpx.ASGITransport(built)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8001") as client:
            shown = await client.get(f"/v1/input/{key(chosen.examples[0].id)}")
            state = (await client.get("/v1/session")).json()
            await client.post("/v1/answer", json={"turn": state["turn"], "label": "lost"})
            return shown, (await client.get("/v1/session")).json()

    shown, state = asyncio.run(conversation())
    journal.close()
    assert shown.text == HOSTILE and json.loads(shown.headers["x-remark"]) == ""
    assert shown.headers["content-type"] == "text/plain; charset=utf-8"
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert state["done"] == 1 and "lost" in (FOLDER / "labels.csv").read_text()


def test_the_page_sets_texts_without_markup():
    page = (Path(app.__file__).with_name("page") / "page.js").read_text(encoding="utf-8")
    assert "innerHTML" not in page and '$("text").textContent = text' in page


def test_a_guess_is_that_of_the_exported_model(monkeypatch: pytest.MonkeyPatch):
    packed, seen = Packed(), []

    class Exported:
        def __init__(self, bundle: object):
            assert bundle == "bundle"

        def predict(self, given: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            seen.extend(given)
            return np.zeros((1, 2)), np.array([[0.25, 0.75]], np.float32), np.ones(1)

    monkeypatch.setattr("darkroom.bundle.texts.TextClassifier", Exported)
    (example,) = examples.unlabelled(packed).examples
    assert Texts(packed).probabilities("bundle", example.id).tolist() == [0.25, 0.75] and seen == [HOSTILE]
