import asyncio
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from darkroom.label import app, examples
from darkroom.label.examples import Example, Packed
from darkroom.label.guess import Guesses
from darkroom.label.images import MAX_SIDE, Images
from darkroom.label.journal import Journal
from darkroom.label.session import Session, key
from tests import bundles
from tests.label import projects

FOLDER = Path(app.__file__).with_name("page")
PHOTOS = Path("data/datasets/photos")


class Page:
    """The application for a project in the working folder."""

    def __init__(self, classes: tuple[str, ...] = projects.CLASSES):
        packed = Packed()
        self.journal = Journal(PHOTOS, Path("toy.lock"), "anna")
        self.images = Images(packed, PHOTOS, 10**7)
        self.session = Session(self.journal, examples.unlabelled(packed), classes, packed.label, False)
        self.app = app.build(self.session, Guesses(self.images, classes), {"by": "anna"})

    def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8001") as client:
                return await client.request(method, path, **request)

        return asyncio.run(asked())

    def pixels(self, example: str) -> tuple[np.ndarray, str]:
        response = self("GET", f"/v1/input/{key(example)}")
        assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
        return np.asarray(Image.open(io.BytesIO(response.content))), json.loads(response.headers["x-remark"])


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    projects.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    opened = Page()
    yield opened
    opened.journal.close()


def test_a_conversation(page: Page):
    state = page("GET", "/v1/session").json()
    assert (state["by"], state["done"], state["total"]) == ("anna", 0, 5)
    state = page("POST", "/v1/answer", json={"turn": state["turn"], "label": "dog"}).json()
    state = page("POST", "/v1/skip", json={"turn": state["turn"]}).json()
    state = page("POST", "/v1/undo", json={"turn": state["turn"]}).json()
    assert (state["done"], state["last"]["label"], state["example"]["key"]) == (1, "dog", key(projects.ids(5)[1]))
    assert page("GET", "/v1/agreement").json() == []


def test_refusals_have_a_status_and_a_reason(page: Page):
    turn = page("GET", "/v1/session").json()["turn"]
    for status, path, body in (
        (409, "/v1/answer", {"turn": "other", "label": "dog"}),
        (422, "/v1/answer", {"turn": turn, "label": "horse"}),
        (400, "/v1/answer", {"turn": turn}),
        (400, "/v1/answer", {"turn": turn, "label": "dog", "by": "ben"}),
        (409, "/v1/undo", {"turn": turn}),
    ):
        response = page("POST", path, json=body)
        assert response.status_code == status and response.json()["error"]
    projects.labels(Path()).write_text("changed")
    assert page("POST", "/v1/answer", json={"turn": turn, "label": "dog"}).status_code == 507
    assert page("GET", "/v1/session").json()["done"] == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example:8001"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"host": "localhost:8001", "origin": "http://localhost:8001"}, 200),
        ({"origin": "http://127.0.0.1:8001"}, 200),
    ],
)
def test_other_web_pages_cannot_answer(page: Page, headers: dict[str, str], status: int):
    body = json.dumps({"turn": page.session.turn, "label": "dog"})
    response = page("POST", "/v1/answer", content=body, headers={"content-type": "application/json", **headers})
    assert response.status_code == status
    assert page.journal.path.exists() == (status == 200)


def test_the_original_file_is_shown_upright_in_any_format(page: Page):
    name = projects.ids(1)[0]
    found, remark = page.pixels(name)
    assert (found.shape, remark) == ((120, 160, 3), "")
    deep = np.linspace(0, 65535, 12, dtype=np.uint16).reshape(3, 4)
    for file_format, picture, options in (
        ("TIFF", Image.fromarray(deep), {}),
        ("GIF", Image.new("P", (4, 3)), {}),
        ("JPEG", Image.new("CMYK", (3, 4)), {"exif": _rotated()}),
    ):
        picture.save(PHOTOS / name, file_format, **options)
        found, remark = page.pixels(name)
        assert (found.shape[:2], remark) == ((3, 4), "")


def test_a_large_image_is_reduced(page: Page):
    name = projects.ids(1)[0]
    Image.new("L", (2 * MAX_SIDE, MAX_SIDE)).save(PHOTOS / name)
    assert page.pixels(name)[0].shape == (MAX_SIDE // 2, MAX_SIDE)


def test_the_packed_image_stands_in_for_an_unusable_file(page: Page):
    name = projects.ids(1)[0]
    (PHOTOS / name).write_bytes(b"no image")
    found, remark = page.pixels(name)
    assert "cannot be shown" in remark
    assert np.array_equal(found, page.images.packed.pixels(name))


def test_the_packed_image_is_shown_if_the_name_of_the_file_is_hidden(page: Page):
    assert page.images.contents("hidden/000000") is None


def test_no_other_file_is_sent(page: Page):
    for path in ("/page/", "/page/../app.py", "/page/%2e%2e/app.py", "/v1/input/..%2f..%2fparams.yaml", "/docs"):
        assert page("GET", path).status_code == 404
    assert page("GET", f"/v1/input/{key('cat/train0.png')}").status_code == 409


def test_files_have_an_etag_and_a_strict_policy(page: Page):
    first = page("GET", "/")
    assert "default-src 'none'" in first.headers["content-security-policy"]
    assert page("GET", "/", headers={"if-none-match": first.headers["etag"]}).status_code == 304


def test_a_guess_is_that_of_the_exported_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    classes = ("dark", "medium", "bright")
    projects.make(tmp_path, classes=classes)
    monkeypatch.chdir(tmp_path)
    bundles.write(Path("models/bundle"), shape=(6, 8, 3))
    page = Page(classes)
    Image.new("RGB", (30, 20), "white").save(PHOTOS / projects.ids(1)[0])
    found = page("GET", f"/v1/guess/{key(projects.ids(1)[0])}").json()
    assert (found["classes"][0]["label"], found["problem"]) == ("bright", "")
    assert found["classes"][0]["probability"] > 0.9
    page.journal.close()


def test_a_model_of_other_classes_makes_no_guess(page: Page):
    bundles.write(Path("models/bundle"), shape=(6, 8, 3))
    found = page("GET", f"/v1/guess/{page.session.state()['example']['key']}").json()
    assert (found["classes"], "other classes" in found["problem"]) == ([], True)


def test_without_a_model_the_guess_is_that_of_the_queue(page: Page):
    guesses = Guesses(page.images, projects.CLASSES)
    found = guesses.of(Example(projects.ids(1)[0], "owl", "margin 0.01"))
    assert found == {"classes": [{"label": "owl", "probability": None}], "reason": "margin 0.01", "problem": ""}


def test_the_page_is_small_and_self_contained():
    files = [FOLDER / name for name in app.FILES.values()]
    assert sorted(files) == sorted(FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) < 30_000
    markup = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*src=)|<style|\bstyle=|\bon\w+=", markup)  # by the content security policy
    texts = (file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "") for file in files)
    assert all("://" not in text for text in texts)


def _rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif
