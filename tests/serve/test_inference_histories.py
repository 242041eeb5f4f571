"""Tests of the Open Inference Protocol for histories: JSON, binary data, and NVIDIA's client."""

import json
import struct
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from darkroom.serve import inference_histories
from tests import history_bundles
from tests.serve.inference import LENGTH
from tests.serving import Api, listening

HISTORIES = [["7", "12", "?"], ["x", "", ""]]
INFER = "/v2/models/toy/infer"
SCORES = np.stack([history_bundles.of(one) for one in HISTORIES])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    api = Api(tmp_path_factory.mktemp("histories") / "bundle", write=history_bundles.write)
    with listening(api.app, api.service) as (_, url):
        yield url
    api.service.close()


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def given(shape: list[int] | None = None, **fields) -> bytes:
    tensor = {"name": "items", "datatype": "BYTES", "shape": shape or [2, 3], **fields}
    return json.dumps({"inputs": [tensor]}).encode()


def test_the_model_is_described(client: httpx.Client):
    found = client.get("/v2/models/toy").json()
    assert found["inputs"] == [{"name": "items", "datatype": "BYTES", "shape": [-1, -1]}]
    assert [one["shape"] for one in found["outputs"]] == [[-1, 5], [-1, 5]]


@pytest.mark.parametrize("data", [HISTORIES, [*HISTORIES[0], *HISTORIES[1]]])
def test_histories_in_json(client: httpx.Client, data: list):
    answer = client.post(INFER, content=given(data=data)).json()
    logits, probabilities = (np.reshape(output["data"], output["shape"]) for output in answer["outputs"])
    assert logits == pytest.approx(SCORES)
    assert probabilities == pytest.approx(history_bundles.softmax(SCORES), abs=1e-6)


def test_histories_as_bytes(client: httpx.Client):
    raw = b"".join(struct.pack("<I", len(item)) + item.encode() for history in HISTORIES for item in history)
    head = given(parameters={"binary_data_size": len(raw)})
    answer = client.post(INFER, content=head + raw, headers={LENGTH: str(len(head))}).json()
    assert answer["outputs"][0]["data"] == SCORES.ravel().tolist()


@pytest.mark.parametrize(
    ("shape", "data", "code"),
    [
        ([2], HISTORIES, 400),
        ([2, 2], HISTORIES, 400),
        ([1, 3], [["7", 12, "x"]], 400),
        ([1, 2], [["?", ""]], 400),
        ([2, 1], ["7", "?"], 400),
        ([1, 1], None, 400),
        ([129, 1], ["7"] * 129, 413),
        ([1, 10_001], ["7"] * 10_001, 413),
        ([100, 1001], ["7"], 413),
    ],
)
def test_invalid_histories(client: httpx.Client, shape: list[int], data: list | None, code: int):
    answer = client.post(INFER, content=given(shape, data=data))
    assert (answer.status_code, set(answer.json())) == (code, {"error"})


def test_the_scores_of_all_items_are_limited(client: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inference_histories, "MAX_OUTPUT", 9)
    assert client.post(INFER, content=given(data=HISTORIES)).status_code == 413
    assert client.post(INFER, content=given([1, 1], data=["7"])).status_code == 200


def test_nvidias_client(url: str):
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    with InferenceServerClient(url.removeprefix("http://")) as client:
        items = InferInput("items", [2, 3], "BYTES")
        for binary in (True, False):
            items.set_data_from_numpy(np.array(HISTORIES, object), binary_data=binary)
            assert client.infer("toy", [items]).as_numpy("logits") == pytest.approx(SCORES)
        outputs = [InferRequestedOutput("probabilities", class_count=2)]
        best = client.infer("toy", [items], outputs=outputs).as_numpy("probabilities")
        assert [one.split(b":")[-1] for one in best[1]] == [b"7", b"12"]
