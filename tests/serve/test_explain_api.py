"""POST /v1/explain."""

import base64
import io
import re
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from tests import bundles
from tests.serving import WHITE, Asked, busy

GREYS = np.arange(
    0, 245, 5, np.uint8
)  # a little darker than medium: what is covered makes it less so, the brightest pixel most
QUEUE = 8


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Of a model whose pictures have 7 x 7 pixels, so that each pixel is a window."""
    asked = Asked(
        tmp_path_factory.mktemp("explain") / "bundle", manifest={"shape": (7, 7, 1)}, queue=QUEUE, max_bytes=1000
    )
    yield asked
    asked.service.close()


def request(content: bytes = WHITE, kind: str = "image/png") -> dict:
    return {"method": "POST", "url": "/v1/explain", "content": content, "headers": {"content-type": kind}}


def test_a_map_is_the_fall_of_the_log_odds_by_pixel(ask: Asked):
    file = io.BytesIO()
    Image.fromarray(GREYS.reshape(7, 7)).save(file, "PNG")
    answer = ask(**request(file.getvalue())).json()
    images = GREYS * (1 - np.vstack([np.zeros(49, np.uint8), np.eye(49, dtype=np.uint8)]))
    medium = bundles.answers(images.reshape(50, 7, 7, 1), 3)[1][:, 1].astype(float)
    odds = medium / (1 - medium)
    assert answer["label"] == "medium"
    assert np.array(answer["map"]).ravel() == pytest.approx(
        np.log(odds[0] / odds[1:]), abs=1e-3
    )  # of float32 probabilities near 1
    assert [answer["probability"], answer["covered"]] == pytest.approx([medium[0], medium[-1]], abs=1e-6)
    assert answer["window"] == {"top": 6, "left": 6, "height": 1, "width": 1}
    assert answer["model"] == {"version": ask.service.bundle.version, "sha256": ask.service.bundle.sha256}


def test_the_picture_is_what_the_model_saw(ask: Asked):
    picture = ask(**request()).json()["picture"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.removeprefix("data:image/png;base64,")))))
    assert pixels.shape == (7, 7) and pixels.min() == 255  # a white one of 4 x 4 was sent


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"no picture", "image/png", 422),
        (b"", "application/octet-stream", 422),
        (WHITE, "text/plain", 415),
        (bytes(1001), "image/png", 413),
    ],
)
def test_what_cannot_be_explained_is_refused(ask: Asked, content: bytes, kind: str, code: int):
    answer = ask(**request(content, kind))
    assert answer.status_code == code and answer.json()["error"]


def test_it_counts_as_a_run_of_the_model_but_as_no_prediction(ask: Asked):
    def counts() -> list[float]:
        text = ask("GET", "/metrics").text
        return [
            float(re.search(f"^darkroom_{name}_count (.*)$", text, re.MULTILINE)[1])
            for name in ("decode_seconds", "inference_seconds", "confidence")
        ]

    before = counts()
    ask(**request())
    assert counts() == [before[0] + 1, before[1] + 1, before[2]]


@pytest.mark.parametrize(("others", "code"), [(QUEUE - 2, 200), (QUEUE - 1, 429)])
def test_an_explanation_takes_a_quarter_of_the_queue(ask: Asked, others: int, code: int):
    async def conversation(client):
        service = ask.service
        with service.admission.take(others, 0):
            return (await client.request(**request())).status_code

    assert ask.within(conversation) == code


def test_one_that_comes_too_late_is_given_up(tmp_path):
    ask = Asked(tmp_path / "bundle", timeout=0.1)

    async def conversation(client):
        async with busy(ask.service):
            return (await client.request(**request())).status_code

    assert ask.within(conversation) == 504
    ask.service.close()
