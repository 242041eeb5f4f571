"""The whole application: its description, its page of documentation, and what its router refuses."""

import re
import subprocess
import sys

import pytest

from tests.serving import Asked


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return Asked(tmp_path_factory.mktemp("app") / "bundle", allow_reload=True)


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [("GET", "/no", 404), ("GET", "/v1/predict", 405), ("GET", "/v1/predict/", 404), ("DELETE", "/v1/model", 405)],
)
def test_what_is_not_there(ask: Asked, method: str, url: str, status: int):
    answer = ask(method, url)
    assert answer.status_code == status and list(answer.json()) == ["error"]
    assert ("allow" in answer.headers) == (status == 405)


def test_the_document_tells_every_status(ask: Asked):
    operation = ask("GET", "/openapi.json").json()["paths"]["/v1/predict"]["post"]
    assert set(operation["responses"]) == {"200", "400", "408", "413", "415", "422", "429", "504"}
    assert operation["parameters"][0]["schema"]["minimum"] == 1
    assert operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["files"]["maxItems"] == 32


def test_the_page_of_documentation_has_every_operation_and_needs_no_network(ask: Asked):
    answer = ask("GET", "/docs")
    assert answer.headers["content-type"].startswith("text/html")
    for path, operations in ask("GET", "/openapi.json").json()["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in answer.text
    assert not re.search(r"<script|https?://|src=", answer.text)


def test_nothing_heavy_is_imported():
    program = "import sys; import darkroom.serve.app, darkroom.serve.server; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "pandas", "scipy", "matplotlib", "sklearn", "onnx"}.intersection(names)
