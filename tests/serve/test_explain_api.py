"""Tests of POST /v1/explain."""

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import bundles
from tests.serving import WHITE, Api, busy

GREYS = np.arange(0, 245, 5, np.uint8)  # a little darker than `medium`: covering the brightest pixel matters most
QUEUE = 8


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A model for images of 7 x 7 pixels, in which each window is one pixel."""
    asked = Api(
        tmp_path_factory.mktemp("explain") / "bundle", manifest={"shape": (7, 7, 1)}, queue=QUEUE, max_bytes=1000
    )
    yield asked
    asked.service.close()


def request(content: bytes = WHITE, kind: str = "image/png") -> dict:
    return {"method": "POST", "url": "/v1/explain", "content": content, "headers": {"content-type": kind}}


def test_the_map_is_the_decrease_of_the_log_odds_by_pixel(api: Api):
    file = io.BytesIO()
    Image.fromarray(GREYS.reshape(7, 7)).save(file, "PNG")
    answer = api(**request(file.getvalue())).json()
    images = GREYS * (1 - np.vstack([np.zeros(49, np.uint8), np.eye(49, dtype=np.uint8)]))
    medium = bundles.answers(images.reshape(50, 7, 7, 1), 3)[1][:, 1].astype(float)
    odds = medium / (1 - medium)
    assert answer["label"] == "medium"
    decrease = np.log(odds[0] / odds[1:])
    assert np.array(answer["map"]).ravel() == pytest.approx(decrease, abs=1e-3)  # float32 probabilities near 1
    assert [answer["probability"], answer["covered"]] == pytest.approx([medium[0], medium[-1]], abs=1e-6)
    assert answer["window"] == {"top": 6, "left": 6, "height": 1, "width": 1}
    assert answer["model"] == {"version": api.service.bundle.version, "sha256": api.service.bundle.sha256}


def test_the_image_is_the_input_of_the_model(api: Api):
    image = api(**request()).json()["image"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(image.removeprefix("data:image/png;base64,")))))
    assert pixels.shape == (7, 7) and pixels.min() == 255  # the file has 4 x 4 white pixels


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"not an image", "image/png", 422),
        (b"", "application/octet-stream", 422),
        (WHITE, "text/plain", 415),
        (bytes(1001), "image/png", 413),
    ],
)
def test_refused_requests(api: Api, content: bytes, kind: str, code: int):
    answer = api(**request(content, kind))
    assert answer.status_code == code and answer.json()["error"]


def test_it_counts_as_a_model_run_but_not_as_a_prediction(api: Api):
    def counts() -> list[float]:
        text = api("GET", "/metrics").text
        return [
            float(re.search(f"^darkroom_{name}_count (.*)$", text, re.MULTILINE)[1])
            for name in ("decode_seconds", "inference_seconds", "confidence")
        ]

    before = counts()
    api(**request())
    assert counts() == [before[0] + 1, before[1] + 1, before[2]]


@pytest.mark.parametrize(("others", "code"), [(QUEUE - 2, 200), (QUEUE - 1, 429)])
def test_an_explanation_takes_a_quarter_of_the_queue(api: Api, others: int, code: int):
    async def conversation(client):
        service = api.service
        with service.admission.take(others, 0):
            return (await client.request(**request())).status_code

    assert api.run(conversation) == code


def test_a_late_explanation_is_dropped(tmp_path: Path):
    api = Api(tmp_path / "bundle")

    async def conversation(client):
        async with busy(api.service):
            api.service.settings = replace(api.service.settings, timeout=0.1)
            return (await client.request(**request())).status_code

    assert api.run(conversation) == 504
    api.service.close()
