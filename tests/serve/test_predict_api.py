"""Tests of POST /v1/predict."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.serve.service import Service
from tests import bundles
from tests.serving import BLACK, WHITE, Api, png


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    asked = Api(tmp_path_factory.mktemp("predict") / "bundle", max_bytes=10_000, max_files=3)
    yield asked
    asked.service.close()


def predict(api: Api, body: bytes = WHITE, content_type: str = "image/png", **request):
    return api("POST", "/v1/predict", content=body, headers={"content-type": content_type}, **request)


def model(service: Service) -> dict[str, str]:
    return {"version": service.bundle.version, "sha256": service.bundle.sha256}


@pytest.mark.parametrize(
    "content_type", ["image/png", "image/x-anything", "IMAGE/PNG; q=1", "application/octet-stream"]
)
def test_one_image(api: Api, content_type: str):
    response = predict(api, content_type=content_type)
    assert response.status_code == 200
    answer = response.json()
    _, [probabilities] = bundles.answers(bundles.grey(255), 3)
    assert answer["model"] == model(api.service)
    assert (answer["label"], answer["abstained"]) == ("bright", False)
    assert [one["label"] for one in answer["classes"]] == ["bright", "medium", "dark"]
    assert [one["probability"] for one in answer["classes"]] == pytest.approx(probabilities[::-1].tolist(), abs=1e-6)
    assert answer["confidence"] == answer["classes"][0]["probability"]
    assert answer["decode_ms"] > 0 and answer["inference_ms"] > 0


def test_a_prediction_below_the_threshold_abstains(api: Api):
    between = predict(api, png(64)).json()
    assert between["abstained"] and between["confidence"] < api.service.bundle.manifest.threshold


def test_without_a_threshold_every_prediction_abstains(tmp_path: Path):
    api = Api(tmp_path / "bundle", manifest={"threshold": None})
    assert predict(api).json()["abstained"]


@pytest.mark.parametrize(
    ("kind", "expected"), [("marginal", ["bright"]), ("class_conditional", ["bright", "dark"]), (None, None)]
)
def test_a_prediction_set_is_returned_on_request(tmp_path: Path, kind: str | None, expected: list[str] | None):
    conformal = {"coverage": 0.9, "marginal": 0.9, "class_conditional": [0.0, 1.0, 1.0]}
    api = Api(tmp_path / "bundle", manifest={"conformal": conformal})
    params = {} if kind is None else {"set": kind}
    assert predict(api, params=params).json().get("set") == expected
    several = api("POST", "/v1/predict", files=[("a", WHITE), ("b", b"")], params=params).json()["results"]
    assert [result.get("set") for result in several] == [expected, None]
    assert predict(api, params={"set": "true"}).status_code == 400
    assert api("GET", "/v1/model").json()["conformal"] == conformal


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("POST", "/v1/predict?topk=2", "allowed: top_k, set."),
        ("POST", "/v1/predict?zzzzz=2", "allowed: top_k, set."),
        ("POST", "/v1/explain?top_k=2", "allowed: none."),
        ("GET", "/v1/model?verbose=1", "allowed: none."),
        ("GET", "/health/live?at=12", None),
        ("GET", "/v2?at=12", None),
        ("GET", "/?from=mail", None),
    ],
)
def test_an_unknown_query_parameter_is_refused_under_v1(api: Api, method: str, path: str, hint: str | None):
    answer = api(method, path, content=WHITE, headers={"content-type": "image/png"})
    assert answer.status_code == (200 if hint is None else 400)
    if hint is not None:
        assert answer.json()["error"].endswith(hint)


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (10**30, 3)])
def test_top_k(api: Api, top_k: int, count: int):
    assert len(predict(api, params={"top_k": top_k}).json()["classes"]) == count


@pytest.mark.parametrize("top_k", ["0", "-1", "", "many", "1.5"])
def test_an_invalid_top_k(api: Api, top_k: str):
    answer = predict(api, params={"top_k": top_k})
    assert answer.status_code == 400 and "top_k" in answer.json()["error"]


def test_several_files_with_an_unusable_one(api: Api):
    answer = api("POST", "/v1/predict", files=[("a", WHITE), ("b", b"not an image"), ("c", BLACK)]).json()
    assert answer["model"] == model(api.service)
    assert [result.get("label") for result in answer["results"]] == ["bright", None, "dark"]
    assert list(answer["results"][1]) == ["error"] and "PNG" in answer["results"][1]["error"]


def test_a_form_with_other_fields(api: Api):
    answer = api("POST", "/v1/predict", files=[("image", WHITE)], data={"comment": "a shoe", "top_k": "1"}).json()
    assert [result["label"] for result in answer["results"]] == ["bright"]


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain", "/v2/models/toy/infer"])
def test_compressed_requests_are_treated_alike(api: Api, path: str):
    headers = {"content-type": "image/png", "content-encoding": "gzip"}
    pixels = [{"name": "images", "shape": [1, 1, 1, 1], "datatype": "UINT8", "data": [255]}]
    contents = json.dumps({"inputs": pixels}).encode() if "v2" in path else WHITE
    assert api("POST", path, content=gzip.compress(contents, mtime=0), headers=headers).status_code == 200
    assert api("POST", path, content=contents, headers=headers).status_code == 400
    assert api("POST", path, content=gzip.compress(bytes(10_001), mtime=0), headers=headers).status_code == 413
    other = api("POST", path, content=contents, headers={**headers, "content-encoding": "br"})
    assert (other.status_code, other.headers["accept-encoding"]) == (415, "gzip, deflate")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (WHITE[:40], "image/png", 422),
        (b"", "image/png", 422),
        (b"not an image", "application/octet-stream", 422),
        (WHITE, "text/plain", 415),
        (WHITE, "", 415),
        (WHITE, "multipart/form-data", 400),
        (WHITE, "multipart/form-data; boundary=x", 400),
        (WHITE + bytes(10_000), "image/png", 413),
    ],
)
def test_refused_requests(api: Api, body: bytes, content_type: str, status: int):
    answer = predict(api, body, content_type)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_too_many_files(api: Api):
    assert api("POST", "/v1/predict", files=[("files", WHITE)] * 4).status_code == 400


@pytest.mark.parametrize(("bundle", "service"), [(15, 100), (100, 15)])
def test_an_image_with_too_many_pixels_is_not_decoded(tmp_path: Path, bundle: int, service: int):
    api = Api(tmp_path / "bundle", manifest={"max_pixels": bundle}, max_pixels=service)
    assert api("GET", "/v1/model").json()["max_pixels"] == bundle  # of the manifest, which the version identifies
    answer = predict(api)
    assert answer.status_code == 422 and "15" in answer.json()["error"]
