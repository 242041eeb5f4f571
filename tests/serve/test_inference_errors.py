"""Tests of inference requests that are refused."""

import json
import re

import httpx
import pytest

from darkroom.serve.inference_protocol import JSON_LIMIT
from tests.serve.inference import BINARY_INPUT, INFER, INPUT, LENGTH, infer


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("/v2/models/other", "'other' .* 'toy'"),
        ("/v2/models/toy/versions/1", "'1' of 'toy' .* '{}'"),
    ],
)
def test_unknown_models_and_versions(client: httpx.Client, version: str, url: str, message: str):
    for answer in (client.get(url), client.get(f"{url}/ready"), infer(client, url=f"{url}/infer")):
        assert answer.status_code == 404
        assert re.search(message.format(version), answer.json()["error"])


@pytest.mark.parametrize(
    ("status", "message", "change"),
    [
        (400, "inputs: ", {"inputs": ...}),
        (400, "inputs: .* at least 1", {"inputs": []}),
        (400, "inputs: .* at most 1", {"inputs": [INPUT, INPUT]}),
        (400, "inputs.0.datatype: .*'UINT8'", {"inputs": [{**INPUT, "datatype": "FP32"}]}),
        (400, "inputs.0.shape: .* at least 4", {"inputs": [{**INPUT, "shape": [8]}]}),
        (
            400,
            "inputs.0.shape.0: .* 1",
            {"inputs": [{**INPUT, "shape": [0, 2, 2, 1], "data": []}]},
        ),
        (400, "inputs.0.shape.0: .* less than", {"inputs": [{**INPUT, "shape": [10**4000, 2, 2, 1]}]}),
        (400, "inputs.0.shape.0: .* integer", {"inputs": [{**INPUT, "shape": ["2", 2, 2, 1]}]}),
        (
            400,
            r"\[2, 2, 1, 2\].* width, 1\]",
            {"inputs": [{**INPUT, "shape": [2, 2, 1, 2]}]},
        ),
        (400, "length 8.*needs 4", {"inputs": [{**INPUT, "shape": [1, 2, 2, 1]}]}),
        (400, "between 0 and 255", {"inputs": [{**INPUT, "data": [256] * 8}]}),
        (400, "integers", {"inputs": [{**INPUT, "data": [0.5] * 8}]}),
        (400, "inputs.0.data: .* list", {"inputs": [{**INPUT, "data": "AAAA"}]}),
        (400, "data, or binary_data_size", {"inputs": [{**INPUT, "data": None}]}),
        (400, "data, or binary_data_size", {"inputs": [{**INPUT, "parameters": {"binary_data_size": 8}}]}),
        (400, "^0 bytes .* binary_data_size is 8", {"inputs": [BINARY_INPUT]}),
        (
            400,
            "inputs.0.parameters.shared_memory_region: ",
            {"inputs": [{**INPUT, "parameters": {"shared_memory_region": "a"}}]},
        ),
        (
            413,
            "129 images.* 128",
            {"inputs": [{**INPUT, "shape": [129, 1, 1, 1], "data": [0] * 129}]},
        ),
        (
            413,
            "1 x 101 pixels.* 100 ",
            {"inputs": [{**INPUT, "shape": [1, 1, 101, 1], "data": [0] * 101}]},
        ),
        (
            413,
            "16,385 pixels.* 16,384 ",
            {"inputs": [{**INPUT, "shape": [1, 1, 16385, 1], "data": [0]}]},
        ),
        (404, "'pixels'.*'images'", {"inputs": [{**INPUT, "name": "pixels"}]}),
        (400, "inputs.0.name: .* 100 ", {"inputs": [{**INPUT, "name": 101 * "a"}]}),
        (404, "'labels'.*logits and probabilities", {"outputs": [{"name": "labels"}]}),
        (400, "'logits'.* twice", {"outputs": [{"name": "logits"}, {"name": "logits"}]}),
        (400, "outputs: .* at most 2", {"outputs": [{"name": "logits"}] * 3}),
        (
            400,
            "classification: .* 1",
            {"outputs": [{"name": "logits", "parameters": {"classification": 0}}]},
        ),
        (400, "id: .* string", {"id": 42}),
    ],
)
def test_refused_requests(client: httpx.Client, status: int, message: str, change: dict):
    request = {key: value for key, value in ({"inputs": [INPUT]} | change).items() if value is not ...}
    answer = client.post(INFER, content=json.dumps(request))
    assert answer.status_code == status
    assert str(status) in client.get("/openapi.json").json()["paths"]["/v2/models/{name}/infer"]["post"]["responses"]
    assert list(answer.json()) == ["error"]
    assert re.search(message, answer.json()["error"])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"null", b"\xff", b"[" * 100_000, b'{"id": "\\ud800"}', b'{"inputs": [{"data": [NaN]}]}']
)
def test_invalid_json(client: httpx.Client, body: bytes):
    answer = client.post(INFER, content=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.parametrize(
    ("size", "length"), [(7, None), (9, None), (8, "0"), (8, "9999"), (8, "-1"), (8, "x"), (8, "20")]
)
def test_binary_data_that_does_not_fit(client: httpx.Client, size: int, length: str | None):
    text = json.dumps({"inputs": [BINARY_INPUT]}).encode()
    answer = client.post(INFER, content=text + bytes(size), headers={LENGTH: length or str(len(text))})
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_bytes_after_json_with_data(client: httpx.Client):
    text = json.dumps({"inputs": [INPUT]}).encode()
    answer = client.post(INFER, content=text + b"more", headers={LENGTH: str(len(text))})
    assert answer.status_code == 400 and "4 bytes" in answer.json()["error"]


def test_long_json_is_refused_before_it_is_parsed(client: httpx.Client):
    answer = client.post(INFER, content=b"[" * (JSON_LIMIT + 1))
    assert answer.status_code == 413 and "1,048,577" in answer.json()["error"]
