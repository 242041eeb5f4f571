"""Tests of the complete application: its OpenAPI document, its documentation page, and unknown routes."""

import re
import subprocess
import sys

import pytest

from tests.serving import Api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    return Api(tmp_path_factory.mktemp("app") / "bundle", allow_reload=True)


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [("GET", "/no", 404), ("GET", "/v1/predict", 405), ("GET", "/v1/predict/", 404), ("DELETE", "/v1/model", 405)],
)
def test_unknown_paths_and_methods(api: Api, method: str, url: str, status: int):
    answer = api(method, url)
    assert answer.status_code == status and list(answer.json()) == ["error"]
    assert ("allow" in answer.headers) == (status == 405)


PATHS = ["/", "/page/page.js", "/docs", "/openapi.json", "/metrics", "/health/live", "/health/ready", "/v1/model"]
PATHS += [
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/toy",
    "/v2/models/toy/ready",
    "/v2/models/no",
    "/no",
]


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_the_body(api: Api, path: str):
    head, get = api("HEAD", path), api("GET", path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # its length changes
        assert head.headers["content-length"] == str(len(get.content))


def test_allowed_methods(api: Api):
    assert api("HEAD", "/v1/predict").headers["allow"] == "POST"
    assert api("DELETE", "/v1/model").headers["allow"] == api("DELETE", "/").headers["allow"] == "GET, HEAD"


def test_the_document_has_every_status(api: Api):
    operation = api("GET", "/openapi.json").json()["paths"]["/v1/predict"]["post"]
    assert set(operation["responses"]) == {"200", "400", "408", "413", "415", "422", "429", "504"}
    assert operation["parameters"][0]["schema"]["minimum"] == 1
    content = operation["requestBody"]["content"]
    assert content["multipart/form-data"]["schema"]["properties"]["files"]["maxItems"] == 32
    assert {"image/png", "image/jpeg", "application/octet-stream"} < set(content)


def test_the_documentation_page_has_every_operation_and_needs_no_network(api: Api):
    answer = api("GET", "/docs")
    assert answer.headers["content-type"].startswith("text/html")
    for path, operations in api("GET", "/openapi.json").json()["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in answer.text
    assert not re.search(r"<script|https?://|src=", answer.text)


def test_schema_names_are_plain_and_distinct(api: Api):
    """FastAPI adds the module to the names of schemas that are not distinct."""
    names = api("GET", "/openapi.json").json()["components"]["schemas"]
    assert [name for name in names if not name.isalpha()] == []


def test_nothing_heavy_is_imported():
    program = "import sys; import darkroom.serve.app, darkroom.serve.server; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "pandas", "scipy", "matplotlib", "sklearn", "onnx"}.intersection(names)
