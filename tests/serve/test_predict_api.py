"""POST /v1/predict."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.serve.service import Service
from tests import bundles
from tests.serving import BLACK, WHITE, Asked, png


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    asked = Asked(tmp_path_factory.mktemp("predict") / "bundle", max_bytes=10_000, max_files=3)
    yield asked
    asked.service.close()


def predict(ask: Asked, body: bytes = WHITE, content_type: str = "image/png", **request):
    return ask("POST", "/v1/predict", content=body, headers={"content-type": content_type}, **request)


def model(service: Service) -> dict[str, str]:
    return {"version": service.bundle.version, "sha256": service.bundle.sha256}


@pytest.mark.parametrize(
    "content_type", ["image/png", "image/x-anything", "IMAGE/PNG; q=1", "application/octet-stream"]
)
def test_a_picture(ask: Asked, content_type: str):
    answered = predict(ask, content_type=content_type)
    assert answered.status_code == 200
    answer = answered.json()
    _, [probabilities] = bundles.answers(bundles.grey(255), 3)
    assert answer["model"] == model(ask.service)
    assert (answer["label"], answer["abstained"]) == ("bright", False)
    assert [one["label"] for one in answer["classes"]] == ["bright", "medium", "dark"]
    assert [one["probability"] for one in answer["classes"]] == pytest.approx(probabilities[::-1].tolist(), abs=1e-6)
    assert answer["confidence"] == answer["classes"][0]["probability"]
    assert answer["decode_ms"] > 0 and answer["inference_ms"] > 0


def test_an_answer_below_the_threshold_abstains(ask: Asked):
    between = predict(ask, png(64)).json()
    assert between["abstained"] and between["confidence"] < ask.service.bundle.manifest.threshold


def test_without_a_threshold_every_answer_abstains(tmp_path: Path):
    ask = Asked(tmp_path / "bundle", manifest={"threshold": None})
    assert predict(ask).json()["abstained"]


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (10**30, 3)])
def test_top_k(ask: Asked, top_k: int, count: int):
    assert len(predict(ask, params={"top_k": top_k}).json()["classes"]) == count


@pytest.mark.parametrize("top_k", ["0", "-1", "", "many", "1.5"])
def test_a_wrong_top_k(ask: Asked, top_k: str):
    answer = predict(ask, params={"top_k": top_k})
    assert answer.status_code == 400 and "top_k" in answer.json()["error"]


def test_several_files_of_which_one_is_bad(ask: Asked):
    answer = ask("POST", "/v1/predict", files=[("a", WHITE), ("b", b"no picture"), ("c", BLACK)]).json()
    assert answer["model"] == model(ask.service)
    assert [result.get("label") for result in answer["results"]] == ["bright", None, "dark"]
    assert answer["results"][1] == {"error": "it is no picture of a known format (JPEG, PNG, WEBP, BMP, TIFF, GIF)"}


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (WHITE[:40], "image/png", 422),
        (b"", "image/png", 422),
        (b"no picture", "application/octet-stream", 422),
        (WHITE, "text/plain", 415),
        (WHITE, "", 415),
        (WHITE, "multipart/form-data", 400),
        (WHITE, "multipart/form-data; boundary=x", 400),
        (WHITE + bytes(10_000), "image/png", 413),
    ],
)
def test_what_cannot_be_answered(ask: Asked, body: bytes, content_type: str, status: int):
    answer = predict(ask, body, content_type)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_too_many_files(ask: Asked):
    assert ask("POST", "/v1/predict", files=[("files", WHITE)] * 4).status_code == 400


@pytest.mark.parametrize(("bundle", "service"), [(15, 100), (100, 15)])
def test_a_picture_with_too_many_pixels_is_not_decoded(tmp_path: Path, bundle: int, service: int):
    ask = Asked(tmp_path / "bundle", manifest={"max_pixels": bundle}, max_pixels=service)
    assert ask("GET", "/v1/model").json()["max_pixels"] == bundle  # the manifest's, as its version says
    answer = predict(ask)
    assert answer.status_code == 422 and "more than the 15 " in answer.json()["error"]
