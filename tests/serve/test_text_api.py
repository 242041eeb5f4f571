"""Tests of POST /v1/predict for texts, with hostile ones too."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkroom.serve.inference_protocol import JSON_LIMIT
from tests import text_bundles
from tests.serve.test_status_api import metrics
from tests.serving import Api, busy

PLAIN, JSON = "text/plain", "application/json"
LONG = 20_001  # characters, one more than allowed
QUESTIONS = {"How do I change my PIN": "In the app.", "I lost my card": "We send a new card."}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("texts") / "bundle"
    asked = Api(folder, manifest={"questions": QUESTIONS}, write=text_bundles.write, max_files=3)
    yield asked
    asked.service.close()


def request(content: str | bytes, kind: str = PLAIN, query: str = "") -> dict:
    return {"method": "POST", "url": f"/v1/predict{query}", "content": content, "headers": {"content-type": kind}}


def expected(text: str) -> list[float]:
    return text_bundles.softmax(text_bundles.scores(np.array([text_bundles.ids(text)])))[0].tolist()


def test_a_text_gets_its_class_the_answer_and_the_most_similar_question(api: Api):
    found = api(**request("Lost my card", query="?top_k=2&set=marginal")).json()
    probabilities = expected("lost my card")
    assert (found["label"], found["abstained"], found["handover"]) == ("card", False, False)
    assert found["answer"] == text_bundles.ANSWERS["card"]
    assert [one["label"] for one in found["classes"]] == ["card", "pin"]
    assert [one["probability"] for one in found["classes"]] == pytest.approx(probabilities[:2])
    assert (found["set"], found["tokens"], found["cut"]) == (["card"], 3, False)
    assert found["faq"] == {
        "question": "I lost my card",
        "answer": QUESTIONS["I lost my card"],
        "similarity": pytest.approx(1),
    }
    assert found["model"]["version"] == api.service.bundle.version


def test_an_uncertain_prediction_is_handed_over(api: Api):
    found = api(**request("card pin")).json()
    assert (found["abstained"], found["handover"], found["answer"]) == (True, True, None)


def test_a_class_without_an_answer(api: Api):
    found = api(**request("money")).json()
    assert (found["label"], found["answer"], found["handover"]) == ("money", None, False)


@pytest.mark.parametrize(
    ("language", "answers"), [("de", "GERMAN"), ("DE-at", "GERMAN"), ("fr", "ANSWERS"), ("", "ANSWERS")]
)
def test_the_answer_is_in_the_language_if_there_is_one(api: Api, language: str, answers: str):
    found = api(**request("card card", query=f"?language={language}")).json()
    assert found["answer"] == getattr(text_bundles, answers)["card"]


def test_without_questions_there_is_no_similar_one(tmp_path):
    api = Api(tmp_path / "bundle", write=text_bundles.write)
    assert api(**request("my card")).json()["faq"] is None


def test_json_holds_one_text_or_several(api: Api):
    assert api(**request(json.dumps({"text": "pin"}), JSON)).json()["label"] == "pin"
    answer = api(**request(json.dumps({"texts": ["card", " ", "money"]}), JSON)).json()
    assert [one.get("label") for one in answer["results"]] == ["card", None, "money"]
    assert set(answer["results"][1]) == {"error"}


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        ("", PLAIN, 422),
        (" \n\u200b", PLAIN, 422),
        (b"\x00\x01", PLAIN, 422),
        (b"\xff\xfec\x00a\x00", PLAIN, 400),  # UTF-16
        (b"\xed\xa0\x80 card", PLAIN, 400),  # a lone surrogate
        ("card", "text/plain; charset=latin-1", 415),
        ("card", "text/html", 415),
        ("card", "image/png", 415),
        (b"card " * 10**6 * 2, PLAIN, 413),
        ("a" * LONG, PLAIN, 422),
        ("\U0001f600" * LONG, PLAIN, 413),  # four bytes each
        ("{", JSON, 400),
        ("[" * 100_000, JSON, 400),
        (b"\xff", JSON, 400),
        ('{"text": "\\ud800"}', JSON, 422),
        ('{"text": "\\u0000"}', JSON, 422),
        ('{"text": null}', JSON, 400),
        ('{"text": ["card"]}', JSON, 400),
        ('{"texts": "card"}', JSON, 400),
        ('{"texts": []}', JSON, 400),
        ('{"texts": ["card", 1]}', JSON, 400),
        ('{"texts": ["a", "b", "c", "d"]}', JSON, 413),
        ('{"text": "card", "top_k": 2}', JSON, 400),
        ('["card"]', JSON, 400),
        (json.dumps({"text": "a" * LONG}), JSON, 422),
        (b" " * (JSON_LIMIT + 1), JSON, 413),
        (b" " * 10**7, JSON, 413),
    ],
)
def test_unusable_requests_get_one_clear_answer(api: Api, content: str | bytes, kind: str, code: int):
    answer = api(**request(content, kind))
    assert answer.status_code == code
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("parameters", ["", "; charset=UTF-8", '; format=flowed; charset="utf-8"; delsp=no'])
def test_the_content_type_may_have_parameters(api: Api, parameters: str):
    assert api(**request("card", PLAIN + parameters)).json()["label"] == "card"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("my\x00lost\x07card", "card"),  # control characters are blanks
        ("\ufeffcard", "card"),
        ("\u202ebtw my card\u202c", "card"),
        ("\u0628\u0637\u0627\u0642\u0629 lost", "card"),
        ("\u5361", "card"),
        ("pin \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea", "pin"),
        ("<script>alert(1)</script> pin", "pin"),
        ("pin\r\n\tpin", "pin"),
    ],
)
def test_any_script_is_classified(api: Api, text: str, label: str):
    assert api(**request(text)).json()["label"] == label
    assert api(**request(json.dumps({"text": text.lstrip("\ufeff")}), JSON)).json()["label"] == label


def test_a_long_text_is_cut_and_the_answer_says_so(api: Api):
    found = api(**request("pin " + "my " * 7 + "card")).json()
    assert (found["label"], found["tokens"], found["cut"]) == ("pin", text_bundles.LENGTH, True)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.binary(max_size=50), st.text(max_size=50).map(lambda text: text.encode(errors="surrogatepass"))))
def test_any_body_gets_an_answer(api: Api, body: bytes):
    assert api(**request(body)).status_code in (200, 400, 422)


def test_a_full_service_refuses_texts(tmp_path):
    api = Api(tmp_path / "bundle", write=text_bundles.write, queue=2)

    async def conversation(client) -> int:
        async with busy(api.service, 2):
            return (await client.post("/v1/predict", content="card", headers={"content-type": PLAIN})).status_code

    assert api.run(conversation) == 429


def test_metrics_and_drift_of_texts(tmp_path):
    api = Api(tmp_path / "bundle", {"reference": text_bundles.reference(2000)}, text_bundles.write, max_files=1000)
    texts = ["unheard of words and more and more and more"] + ["card"] * 999
    for _ in range(8):
        api.service.admission.max_images = 1000
        assert api(**request(json.dumps({"texts": texts}), JSON)).status_code == 200
    found = metrics(api)
    assert found["darkroom_tokens_total",] == 8 * (text_bundles.LENGTH + 999)
    assert found["darkroom_unknown_tokens_total",] == 8 * text_bundles.LENGTH
    assert found["darkroom_texts_cut_total",] == 8
    assert found["darkroom_predictions_total", "card"] == 8000
    report = api("GET", "/v1/drift").json()
    assert set(report["features"]) == {"length", "unknown", "confidence", "class"}
    assert report["features"]["class"]["index"] > 0.2
    assert report["features"]["unknown"]["index"] < 0.01
