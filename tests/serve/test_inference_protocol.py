"""Tests of the Open Inference Protocol: its routes, its binary data, and NVIDIA's client."""

import asyncio
import gzip
import json
import threading
import weakref
import zlib
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from darkroom.serve import inference_images
from darkroom.serve import inference_messages as messages
from darkroom.serve.inference_protocol import JSON_LIMIT
from darkroom.serve.problems import Problem
from darkroom.serve.service import PARSE_INLINE, Service
from darkroom.serve.settings import Settings
from tests import bundles
from tests.serve.inference import INFER, INPUT, LENGTH, LOGITS, PIXELS, PROBABILITIES, infer
from tests.serving import Api, busy


def test_server_metadata(client: httpx.Client):
    version = client.get("/openapi.json").json()["info"]["version"]
    assert client.get("/v2").json() == {
        "name": "darkroom",
        "version": version,
        "extensions": ["binary_tensor_data", "classification"],
    }


@pytest.mark.parametrize("url", ["/v2/models/toy", "/v2/models/toy/versions/{}"])
def test_model_metadata(client: httpx.Client, version: str, url: str):
    assert client.get(url.format(version)).json() == {
        "name": "toy",
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, -1, -1, 1]}],
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }


@pytest.mark.parametrize("ready", [True, False])
def test_health(
    client: httpx.Client, inference_service: Service, version: str, ready: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inference_service, "ready", ready)
    status = 200 if ready else 400  # the protocol requires 4xx for "not ready"
    answers = {
        url: client.get(f"/v2/{url}")
        for url in ("health/live", "health/ready", "models/toy/ready", f"models/toy/versions/{version}/ready")
    }
    assert [(answer.status_code, answer.json()) for answer in answers.values()] == [
        (200, {"live": True}),
        (status, {"live": True, "ready": ready}),
        (status, {"name": "toy", "ready": ready}),
        (status, {"name": "toy", "ready": ready}),
    ]


@pytest.mark.parametrize("data", [PIXELS.ravel().tolist(), PIXELS.tolist()])
@pytest.mark.parametrize("url", [INFER, "/v2/models/toy/versions/{}/infer"])
def test_json_in_and_out(client: httpx.Client, version: str, data: list, url: str):
    answer = infer(client, url=url.format(version), id="42", inputs=[{**INPUT, "data": data}])
    assert answer.status_code == 200 and LENGTH not in answer.headers
    assert answer.json() == {
        "model_name": "toy",
        "model_version": version,
        "id": "42",
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [2, 2], "data": LOGITS},
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [2, 2],
                "data": pytest.approx(PROBABILITIES, rel=1e-6),
            },
        ],
    }


def test_the_bytes_of_a_binary_answer(client: httpx.Client, version: str):
    answer = infer(client, PIXELS.tobytes(), outputs=[{"name": "logits", "parameters": {"binary_data": True}}])
    output = '{"name":"logits","datatype":"FP32","shape":[2,2],"parameters":{"binary_data_size":16}}'
    text = f'{{"model_name":"toy","model_version":"{version}","outputs":[{output}]}}'.encode()
    assert answer.content == text + bytes.fromhex("00000000 00000000 00000000 00002042")
    assert answer.headers[LENGTH] == str(len(text))
    assert answer.headers["content-type"] == "application/octet-stream"


def test_each_output_has_the_requested_form_and_order(client: httpx.Client):
    outputs = [{"name": "probabilities"}, {"name": "logits", "parameters": {"binary_data": False}}]
    answer = infer(client, PIXELS.tobytes(), parameters={"binary_data_output": True, "priority": 1}, outputs=outputs)
    length = int(answer.headers[LENGTH])
    described = json.loads(answer.content[:length])["outputs"]
    assert [output["name"] for output in described] == ["probabilities", "logits"]
    assert described[1]["data"] == LOGITS
    assert np.frombuffer(answer.content[length:], "<f4") == pytest.approx(PROBABILITIES, rel=1e-6)


def test_classification(client: httpx.Client):
    def output(**parameters):
        return [{"name": "probabilities", "parameters": parameters}]

    (classes,) = infer(client, outputs=output(classification=1)).json()["outputs"]
    assert classes == {
        "name": "probabilities",
        "datatype": "BYTES",
        "shape": [2, 1],
        "data": ["0.500000:0:dark", "1.000000:1:bright"],
    }
    assert infer(client, outputs=output(classification=1, binary_data=True)).content.endswith(
        b"\x0f\x00\x00\x000.500000:0:dark\x11\x00\x00\x001.000000:1:bright"
    )


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_requests(client: httpx.Client, inference_service: Service, encoding: str, compress):
    def post(body: bytes, encoding: str = encoding):
        return client.post(INFER, content=body, headers={"content-encoding": encoding}).status_code

    whole_text = json.dumps({"inputs": [INPUT]}).encode()
    whole = compress(whole_text)
    assert post(whole) == post(whole, encoding.upper()) == 200
    assert [post(body) for body in (whole[:-1], whole + b"more", b"", b"plain")] == [400] * 4
    assert post(whole, "br") == 415
    limit = inference_service.settings.max_bytes
    spaces = whole_text.ljust(JSON_LIMIT)
    assert post(compress(spaces)) == 200
    assert post(compress(spaces + b" ")) == 413  # the limit of JSON
    assert post(compress(bytes(limit + 1))) == 413  # the limit of a decompressed body


@pytest.mark.parametrize(("length", "in_a_worker"), [(PARSE_INLINE, False), (PARSE_INLINE + 1, True)])
def test_long_json_is_parsed_in_a_worker(
    client: httpx.Client, length: int, in_a_worker: bool, monkeypatch: pytest.MonkeyPatch
):
    threads, parse = [], messages.parse

    def recording(text: bytes, kind: type) -> messages.InferenceRequest:
        threads.append(threading.current_thread().name)
        return parse(text, kind)

    monkeypatch.setattr(messages, "parse", recording)
    assert client.post(INFER, content=json.dumps({"inputs": [INPUT]}).ljust(length)).status_code == 200
    assert [name.startswith("worker") for name in threads] == [in_a_worker]


def test_the_json_is_freed_before_the_model_runs(
    client: httpx.Client, inference_service: Service, monkeypatch: pytest.MonkeyPatch
):
    parsed, left, parse, original_infer = [], [], messages.parse, inference_service.infer

    def parse_and_remember(text: bytes, kind: type) -> messages.InferenceRequest:
        request = parse(text, kind)
        parsed.append(weakref.ref(request))
        return request

    async def infer_and_check(images: np.ndarray):
        left.extend(request() for request in parsed)
        return await original_infer(images)

    monkeypatch.setattr(messages, "parse", parse_and_remember)
    monkeypatch.setattr(inference_service, "infer", infer_and_check)
    assert infer(client).status_code == 200
    assert left == [None]


def test_a_service_without_capacity_for_all_images(
    client: httpx.Client, inference_service: Service, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inference_service.admission, "images", inference_service.settings.queue - 1)
    answer = infer(client)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_a_reload_during_a_request(
    client: httpx.Client, inference_service: Service, version: str, monkeypatch: pytest.MonkeyPatch
):
    new, original_infer = replace(inference_service.bundle, version="ba9876543210"), inference_service.infer

    async def infer_after_a_reload(images: np.ndarray):
        return new, *(await original_infer(images))[1:]

    monkeypatch.setattr(inference_service, "infer", infer_after_a_reload)
    assert infer(client).json()["model_version"] == "ba9876543210"
    assert infer(client, url=f"/v2/models/toy/versions/{version}/infer").status_code == 404


def test_a_reload_with_other_channels_while_the_json_waits(tmp_path: Path):
    api = Api(tmp_path / "bundle")

    async def conversation(client: httpx.AsyncClient) -> httpx.Response:
        async with busy(api.service):
            waiting = asyncio.create_task(
                client.post(INFER, content=json.dumps({"inputs": [INPUT]}).ljust(PARSE_INLINE + 1))
            )
            while not api.service.admission.bytes:
                await asyncio.sleep(0)
            bundles.write(tmp_path / "bundle", shape=(4, 4, 3))
            await api.service.reload()
        return await waiting

    answer = api.run(conversation)
    assert answer.status_code == 400 and "width, 3]" in answer.json()["error"]
    api.service.close()


def test_optional_fields_may_be_null_and_pixels_whole_floats(client: httpx.Client):
    """The client that is generated from the protocol's own OpenAPI document sends both."""
    pixels = [float(pixel) for pixel in INPUT["data"]]
    whole = {
        "id": None,
        "parameters": None,
        "inputs": [{**INPUT, "data": pixels, "parameters": None}],
        "outputs": [{"name": "logits", "parameters": None}],
    }
    answer = client.post(INFER, json=whole)
    assert answer.status_code == 200
    assert answer.json()["outputs"][0]["data"] == LOGITS and "id" not in answer.json()
    nulls = {"binary_data_size": None, "shared_memory_region": None, "other": None}
    inner = {
        "parameters": {"binary_data_output": None, "other": None},
        "inputs": [{**INPUT, "parameters": nulls}],
        "outputs": None,
    }
    assert len(client.post(INFER, json=inner).json()["outputs"]) == 2
    assert client.post(INFER, json={"inputs": None}).status_code == 400


def test_nvidias_client(inference_url: str, version: str):
    from tritonclient.http import (  # imported here, as it imports gevent
        InferenceServerClient,
        InferenceServerException,
        InferInput,
        InferRequestedOutput,
    )

    with InferenceServerClient(inference_url.removeprefix("http://")) as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("toy") and client.is_model_ready("toy", version)
        assert not client.is_model_ready("other")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
        metadata = client.get_model_metadata("toy")
        images = InferInput(metadata["inputs"][0]["name"], list(PIXELS.shape), metadata["inputs"][0]["datatype"])
        for binary in (True, False):
            images.set_data_from_numpy(PIXELS, binary_data=binary)
            for outputs in (
                None,
                [
                    InferRequestedOutput("probabilities", binary_data=not binary),
                    InferRequestedOutput("logits", binary_data=binary),
                ],
            ):
                for compression in (None, "gzip", "deflate"):
                    answer = client.infer(
                        "toy", [images], outputs=outputs, request_id="7", request_compression_algorithm=compression
                    )
                    assert answer.get_response()["id"] == "7"
                    assert answer.as_numpy("logits").tolist() == np.reshape(LOGITS, (2, 2)).tolist()
                    assert answer.as_numpy("probabilities") == pytest.approx(
                        np.reshape(PROBABILITIES, (2, 2)), rel=1e-6
                    )
        for binary in (True, False):
            outputs = [InferRequestedOutput("logits", binary, class_count=2)]
            classes = client.infer("toy", [images], model_version=version, outputs=outputs).as_numpy("logits")
            assert [bytes(text) if binary else text.encode() for text in classes[1]] == [
                b"40.000000:1:bright",
                b"0.000000:0:dark",
            ]
        assert client.async_infer("toy", [images]).get_result().as_numpy("logits").shape == (2, 2)
        with pytest.raises(InferenceServerException, match="'labels'"):
            client.infer("toy", [images], outputs=[InferRequestedOutput("labels")])


def test_an_image_may_have_so_many_values_that_resizing_fits_in_memory(tmp_path: Path):
    bundles.write(tmp_path / "bundle", max_pixels=10**9)
    service = Service(Settings(bundle=tmp_path / "bundle", threads=1))
    given = messages.ImageInput(name="images", datatype="UINT8", shape=[1, 4096, 4097, 1], data=[])
    with pytest.raises(Problem, match="16,781,312 values") as raised:
        inference_images.read(service, given, memoryview(b""))
    service.close()
    assert raised.value.status == 413
