"""Tests of the Open Inference Protocol for texts: JSON, binary data, and NVIDIA's client."""

import json
import struct
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from darkroom.tokens.text import MAX_CHARACTERS
from tests import text_bundles
from tests.serve.inference import LENGTH
from tests.serving import Api, listening

TEXTS = ["my card", "\u0628\u0637\u0627\u0642\u0629", "pin \U0001f600"]
INFER = "/v2/models/toy/infer"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    api = Api(tmp_path_factory.mktemp("texts") / "bundle", write=text_bundles.write)
    with listening(api.app, api.service) as (_, url):
        yield url
    api.service.close()


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def scores(texts: list[str]) -> np.ndarray:
    return text_bundles.scores(np.array([text_bundles.ids(text) for text in texts]))


def given(shape: list[int] | None = None, **fields) -> bytes:
    tensor = {"name": "texts", "datatype": "BYTES", "shape": shape or [3], **fields}
    return json.dumps({"inputs": [tensor]}).encode()


def packed(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def binary(client: httpx.Client, raw: bytes, shape: list[int] | None = None) -> httpx.Response:
    head = given(shape, parameters={"binary_data_size": len(raw)})
    return client.post(INFER, content=head + raw, headers={LENGTH: str(len(head))})


def test_the_model_is_described(client: httpx.Client):
    found = client.get("/v2/models/toy").json()
    assert found["inputs"] == [{"name": "texts", "datatype": "BYTES", "shape": [-1]}]
    assert [one["shape"] for one in found["outputs"]] == [[-1, 3], [-1, 3]]


@pytest.mark.parametrize(("shape", "data"), [([3], TEXTS), ([3, 1], TEXTS), ([3, 1], [[text] for text in TEXTS])])
def test_texts_in_json(client: httpx.Client, shape: list[int], data: list):
    answer = client.post(INFER, content=given(shape, data=data)).json()
    logits, probabilities = (np.reshape(output["data"], output["shape"]) for output in answer["outputs"])
    assert logits == pytest.approx(scores(TEXTS)) and probabilities == pytest.approx(
        text_bundles.softmax(scores(TEXTS)), abs=1e-6
    )


def test_texts_as_bytes(client: httpx.Client):
    answer = binary(client, packed(*(text.encode() for text in TEXTS))).json()
    assert answer["outputs"][0]["data"] == scores(TEXTS).ravel().tolist()


@pytest.mark.parametrize(
    ("shape", "data", "code"),
    [
        ([2], TEXTS, 400),
        ([3, 2], TEXTS * 2, 400),
        ([3, 1, 1], TEXTS, 400),
        ([1], [7], 400),
        ([1], ["\x00"], 400),
        ([1], ["\ud800"], 400),
        ([2, 1], [["card"], ["card", "pin"]], 400),
        ([1], ["a" * 20_001], 400),
        ([1], None, 400),
        ([129], ["card"] * 129, 413),
        ([1], ["a" * 2**20], 413),
    ],
)
def test_invalid_texts_in_json(client: httpx.Client, shape: list[int], data: list | None, code: int):
    answer = client.post(INFER, content=given(shape, data=data))
    assert (answer.status_code, set(answer.json())) == (code, {"error"})


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", 400),
        (b"\x01", 400),
        (packed(b"card")[:-1], 400),
        (packed(b"card", b"pin"), 400),  # one too many
        (packed(b"\xff"), 400),
        (packed(b""), 400),
        (struct.pack("<I", 2**32 - 1), 413),
        (packed(b"a" * 10**6), 413),
    ],
)
def test_invalid_binary_texts(client: httpx.Client, raw: bytes, code: int):
    answer = binary(client, raw, [1])
    assert (answer.status_code, set(answer.json())) == (code, {"error"})


def test_texts_are_limited_together(client: httpx.Client):
    texts = [b"a" * MAX_CHARACTERS] * 9
    assert binary(client, packed(*texts[:8]), [8]).status_code == 200
    assert binary(client, packed(*texts), [9]).status_code == 413


def test_other_inputs_are_unknown(client: httpx.Client):
    assert client.post(INFER, content=given(data=TEXTS, name="images")).status_code == 404
    assert client.post(INFER, content=given(data=TEXTS, datatype="UINT8")).status_code == 400


def test_nvidias_client(url: str):
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    with InferenceServerClient(url.removeprefix("http://")) as client:
        texts = InferInput("texts", [3], "BYTES")
        for binary in (True, False):
            texts.set_data_from_numpy(np.array(TEXTS, object), binary_data=binary)
            found = client.infer("toy", [texts]).as_numpy("logits")
            assert found == pytest.approx(scores(TEXTS))
        outputs = [InferRequestedOutput("probabilities", class_count=1)]
        classes = client.infer("toy", [texts], outputs=outputs).as_numpy("probabilities")
        assert [bytes(one[0]).split(b":")[-1] for one in classes] == [b"card", b"card", b"pin"]
