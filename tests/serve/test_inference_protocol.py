"""The Open Inference Protocol: its routes, its bytes, and NVIDIA's client."""

import asyncio
import gzip
import json
import re
import socket
import threading
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from darkroom.serve import app
from darkroom.serve import inference_messages as messages
from darkroom.serve.access_log import AccessLog
from darkroom.serve.inference_protocol import AT_ONCE, JSON_LIMIT
from darkroom.serve.server import Server
from darkroom.serve.service import Service
from darkroom.serve.settings import Settings
from tests import bundles
from tests.serving import Asked, busy

LENGTH = "Inference-Header-Content-Length"
INFER = "/v2/models/toy/infer"
PIXELS = np.array([[[[0], [255]], [[0], [255]]], [[[255], [255]], [[255], [255]]]], np.uint8)  # half bright, bright
LOGITS = [0.0, 0.0, 0.0, 40.0]
PROBABILITIES = [0.5, 0.5, np.exp(-40, dtype=np.float32), 1.0]
INPUT = {"name": "images", "shape": [2, 2, 2, 1], "datatype": "UINT8", "data": PIXELS.ravel().tolist()}
BINARY_INPUT = {"name": "images", "shape": [2, 2, 2, 1], "datatype": "UINT8", "parameters": {"binary_data_size": 8}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service") / "bundle"
    bundles.write(folder, ("dark", "bright"), (2, 2, 1), max_pixels=100)
    service = Service(Settings(bundle=folder, threads=1, max_bytes=2 * JSON_LIMIT))
    yield service
    service.close()


@pytest.fixture(scope="module")
def address(service: Service) -> Iterator[str]:
    """Where the service is, on a free port."""
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as listener:  # connections wait in its queue until the server takes them
        server = Server(app.build(service, AccessLog("off")), service)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{address}") as client:
        yield client


@pytest.fixture
def version(service: Service) -> str:
    return service.bundle.version


def infer(client: httpx.Client, raw: bytes | None = None, url: str = INFER, headers: dict | None = None, **request):
    text = json.dumps({"inputs": [INPUT if raw is None else BINARY_INPUT], **request}).encode()
    headers = (headers or {}) | ({} if raw is None else {LENGTH: str(len(text))})
    return client.post(url, content=text + (raw or b""), headers=headers)


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
def test_health(client: httpx.Client, service: Service, version: str, ready: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service, "ready", ready)
    status = 200 if ready else 400  # the protocol has 4xx for "no"
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


def test_each_output_as_it_was_asked_for_and_in_that_order(client: httpx.Client):
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
def test_compressed_requests(client: httpx.Client, service: Service, encoding: str, compress):
    def post(body: bytes, encoding: str = encoding):
        answer = client.post(INFER, content=body, headers={"content-encoding": encoding})
        return answer.status_code, answer.json().get("error")

    whole = compress(json.dumps({"inputs": [INPUT]}).encode())
    assert post(whole) == post(whole, encoding.upper()) == (200, None)
    assert post(whole[:-1]) == (400, f"The body is not one whole {encoding} stream.")
    assert post(whole + b"more") == (400, f"The body is not one whole {encoding} stream.")
    assert post(b"") == (400, f"The body is not one whole {encoding} stream.")
    assert post(b"plain")[0] == 400
    assert post(whole, "br") == (415, "Content-Encoding may be gzip or deflate, not 'br'.")
    limit = service.settings.max_bytes
    assert post(compress(bytes(limit + 1))) == (413, f"The body is longer than {limit:,} bytes once it is inflated.")
    assert post(compress(bytes(limit)))[0] == 413  # by the limit of JSON


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("/v2/models/other", "There is no model 'other' here, only 'toy'."),
        ("/v2/models/toy/versions/1", "There is no version '1' of 'toy' here, only '{}'."),
    ],
)
def test_unknown_models_and_versions(client: httpx.Client, version: str, url: str, message: str):
    for answer in (client.get(url), client.get(f"{url}/ready"), infer(client, url=f"{url}/infer")):
        assert (answer.status_code, answer.json()) == (404, {"error": message.format(version)})


@pytest.mark.parametrize(
    ("status", "message", "change"),
    [
        (400, "inputs: Field required", {"inputs": ...}),
        (400, "inputs: List should have at least 1 item", {"inputs": []}),
        (400, "inputs: List should have at most 1 item", {"inputs": [INPUT, INPUT]}),
        (400, "inputs.0.datatype: Input should be 'UINT8'", {"inputs": [{**INPUT, "datatype": "FP32"}]}),
        (400, "inputs.0.shape: List should have at least 4 items", {"inputs": [{**INPUT, "shape": [8]}]}),
        (
            400,
            "inputs.0.shape.0: Input should be greater than or equal to 1",
            {"inputs": [{**INPUT, "shape": [0, 2, 2, 1], "data": []}]},
        ),
        (400, "inputs.0.shape.0: Input should be less than", {"inputs": [{**INPUT, "shape": [10**4000, 2, 2, 1]}]}),
        (400, "inputs.0.shape.0: Input should be a valid integer", {"inputs": [{**INPUT, "shape": ["2", 2, 2, 1]}]}),
        (
            400,
            r"The shape of images is \[2, 2, 1, 2\], but the model takes \(pictures, height, width, 1\)",
            {"inputs": [{**INPUT, "shape": [2, 2, 1, 2]}]},
        ),
        (400, "length 8, but the shape .* needs 4", {"inputs": [{**INPUT, "shape": [1, 2, 2, 1]}]}),
        (400, "between 0 and 255", {"inputs": [{**INPUT, "data": [256] * 8}]}),
        (400, "must hold integers", {"inputs": [{**INPUT, "data": [0.5] * 8}]}),
        (400, "inputs.0.data: Input should be a valid list", {"inputs": [{**INPUT, "data": "AAAA"}]}),
        (400, "either data, or binary_data_size", {"inputs": [{**INPUT, "data": None}]}),
        (400, "either data, or binary_data_size", {"inputs": [{**INPUT, "parameters": {"binary_data_size": 8}}]}),
        (400, "0 bytes behind the JSON, but binary_data_size says 8", {"inputs": [BINARY_INPUT]}),
        (
            400,
            "inputs.0.parameters.shared_memory_region: Input should be None",
            {"inputs": [{**INPUT, "parameters": {"shared_memory_region": "a"}}]},
        ),
        (
            413,
            "The request holds 129 pictures; at most 128",
            {"inputs": [{**INPUT, "shape": [129, 1, 1, 1], "data": [0] * 129}]},
        ),
        (
            413,
            "A picture has 1 x 101 pixels, more than 100",
            {"inputs": [{**INPUT, "shape": [1, 1, 101, 1], "data": [0] * 101}]},
        ),
        (
            413,
            "A picture has a side of 16,385 pixels, more than 16,384",
            {"inputs": [{**INPUT, "shape": [1, 1, 16385, 1], "data": [0]}]},
        ),
        (404, "The model has no input 'pictures', only 'images'", {"inputs": [{**INPUT, "name": "pictures"}]}),
        (400, "inputs.0.name: String should have at most 100 characters", {"inputs": [{**INPUT, "name": 101 * "a"}]}),
        (404, "The model has no output 'labels', only logits and probabilities", {"outputs": [{"name": "labels"}]}),
        (400, "The output 'logits' is asked for twice", {"outputs": [{"name": "logits"}, {"name": "logits"}]}),
        (400, "outputs: List should have at most 2 items", {"outputs": [{"name": "logits"}] * 3}),
        (
            400,
            "classification: Input should be greater than or equal to 1",
            {"outputs": [{"name": "logits", "parameters": {"classification": 0}}]},
        ),
        (400, "id: Input should be a valid string", {"id": 42}),
    ],
)
def test_what_is_refused(client: httpx.Client, status: int, message: str, change: dict):
    request = {key: value for key, value in ({"inputs": [INPUT]} | change).items() if value is not ...}
    answer = client.post(INFER, content=json.dumps(request))
    assert answer.status_code == status
    assert str(status) in client.get("/openapi.json").json()["paths"]["/v2/models/{name}/infer"]["post"]["responses"]
    assert list(answer.json()) == ["error"]
    assert re.search(message, answer.json()["error"])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"null", b"\xff", b"[" * 100_000, b'{"id": "\\ud800"}', b'{"inputs": [{"data": [NaN]}]}']
)
def test_no_request_at_all(client: httpx.Client, body: bytes):
    answer = client.post(INFER, content=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.parametrize(
    ("size", "length"), [(7, None), (9, None), (8, "0"), (8, "9999"), (8, "-1"), (8, "x"), (8, "20")]
)
def test_binary_data_that_does_not_fit(client: httpx.Client, size: int, length: str | None):
    text = json.dumps({"inputs": [BINARY_INPUT]}).encode()
    answer = client.post(INFER, content=text + bytes(size), headers={LENGTH: length or str(len(text))})
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_bytes_behind_json_that_has_its_data(client: httpx.Client):
    text = json.dumps({"inputs": [INPUT]}).encode()
    answer = client.post(INFER, content=text + b"more", headers={LENGTH: str(len(text))})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "There are 4 bytes behind the JSON, but binary_data_size says 0."},
    )


def test_long_json_is_refused_before_it_is_parsed(client: httpx.Client):
    answer = client.post(INFER, content=b"[" * (JSON_LIMIT + 1))
    assert (answer.status_code, answer.json()) == (
        413,
        {"error": "The JSON has 1,048,577 bytes, more than 1,048,576: send the pixels as binary data."},
    )


@pytest.mark.parametrize(("length", "by_a_worker"), [(AT_ONCE, False), (AT_ONCE + 1, True)])
def test_long_json_is_parsed_by_a_worker(
    client: httpx.Client, length: int, by_a_worker: bool, monkeypatch: pytest.MonkeyPatch
):
    parsed_by, parse = [], messages.parse

    def recording(text: bytes) -> messages.InferenceRequest:
        parsed_by.append(threading.current_thread().name)
        return parse(text)

    monkeypatch.setattr(messages, "parse", recording)
    assert client.post(INFER, content=json.dumps({"inputs": [INPUT]}).ljust(length)).status_code == 200
    assert [name.startswith("worker") for name in parsed_by] == [by_a_worker]


def test_nothing_is_left_of_the_json_while_the_model_runs(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
):
    parsed, left, parse, whole_infer = [], [], messages.parse, service.infer

    def parse_and_remember(text: bytes) -> messages.InferenceRequest:
        request = parse(text)
        parsed.append(weakref.ref(request))
        return request

    async def infer_and_look(images: np.ndarray):
        left.extend(request() for request in parsed)
        return await whole_infer(images)

    monkeypatch.setattr(messages, "parse", parse_and_remember)
    monkeypatch.setattr(service, "infer", infer_and_look)
    assert infer(client).status_code == 200
    assert left == [None]


def test_a_service_that_has_no_room_for_all(client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service.admission, "pictures", service.settings.queue - 1)
    answer = infer(client)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_a_bundle_that_took_the_place_of_the_one_asked_for(
    client: httpx.Client, service: Service, version: str, monkeypatch: pytest.MonkeyPatch
):
    new, whole_infer = replace(service.bundle, version="ba9876543210"), service.infer

    async def infer_after_a_reload(images: np.ndarray):
        return new, *(await whole_infer(images))[1:]

    monkeypatch.setattr(service, "infer", infer_after_a_reload)
    assert infer(client).json()["model_version"] == "ba9876543210"
    assert infer(client, url=f"/v2/models/toy/versions/{version}/infer").status_code == 404


def test_a_bundle_of_other_pictures_that_came_while_the_json_waited(tmp_path: Path):
    ask = Asked(tmp_path / "bundle")

    async def conversation(client: httpx.AsyncClient) -> httpx.Response:
        async with busy(ask.service):
            waiting = asyncio.create_task(
                client.post(INFER, content=json.dumps({"inputs": [INPUT]}).ljust(AT_ONCE + 1))
            )
            while not ask.service.admission.bytes:
                await asyncio.sleep(0)
            bundles.write(tmp_path / "bundle", shape=(4, 4, 3))
            await ask.service.reload()
        return await waiting

    answer = ask.within(conversation)
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "The shape of images is [2, 2, 2, 1], but the model takes (pictures, height, width, 3)."},
    )
    ask.service.close()


def test_nvidias_client(address: str, version: str):
    from tritonclient.http import (  # here: it brings gevent
        InferenceServerClient,
        InferenceServerException,
        InferInput,
        InferRequestedOutput,
    )

    with InferenceServerClient(address) as client:
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
        with pytest.raises(InferenceServerException, match="no output 'labels'"):
            client.infer("toy", [images], outputs=[InferRequestedOutput("labels")])
