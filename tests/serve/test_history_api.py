"""Tests of POST /v1/recommend and GET /v1/items, with hostile requests too."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkroom.serve.history_messages import MAX_COUNT
from darkroom.serve.history_work import MAX_ID, MAX_ITEMS
from darkroom.serve.inference_protocol import JSON_LIMIT
from tests import history_bundles, text_bundles
from tests.history_bundles import EVENTS, HOSTILE, ITEMS, LENGTH
from tests.serve.test_status_api import metrics
from tests.serving import Api, busy

JSON = "application/json"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("histories") / "bundle"
    asked = Api(folder, write=history_bundles.write, max_files=3)
    yield asked
    asked.service.close()


def post(api: Api, content: str | bytes | dict, kind: str = JSON, route: str = "recommend") -> httpx.Response:
    content = json.dumps(content) if isinstance(content, dict) else content
    return api("POST", f"/v1/{route}", content=content, headers={"content-type": kind})


def recommended(api: Api, history: list[str], **options: Any) -> dict:
    answer = post(api, {"history": history, **options})
    assert answer.status_code == 200
    return answer.json()


def test_the_most_probable_next_items_come_with_their_titles(api: Api):
    found = recommended(api, ["7"], count=2)
    probabilities = history_bundles.softmax(history_bundles.of(["7"])).tolist()
    assert found["items"] == [
        {"id": "12", "title": "Brazil", "probability": pytest.approx(probabilities[1])},
        {"id": "a b", "title": HOSTILE, "probability": pytest.approx(probabilities[2])},
    ]
    assert (found["based_on"], found["known_items"], found["unknown_items"]) == ("history", 1, 0)
    assert found["model"]["version"] == api.service.bundle.version and not found["cut"]


def test_items_of_the_history_are_left_out_unless_asked_for(api: Api):
    history = ["7", "12", "12"]
    assert {one["id"] for one in recommended(api, history)["items"]} == set(ITEMS) - {"7", "12"}
    assert {one["id"] for one in recommended(api, history, leave_out_seen=False)["items"]} == set(ITEMS)
    assert recommended(api, list(ITEMS))["items"] == []


@pytest.mark.parametrize(("history", "unknown"), [([], 0), (["?", "\x00", "7 ", "", HOSTILE], 5)])
def test_an_empty_or_unknown_history_gets_the_most_frequent_items(api: Api, history: list[str], unknown: int):
    found = recommended(api, history, count=1)
    assert found["items"] == [{"id": "12", "title": "Brazil", "probability": pytest.approx(9 / sum(EVENTS))}]
    assert (found["based_on"], found["known_items"], found["unknown_items"]) == ("popularity", 0, unknown)


def test_several_histories_are_answered_in_their_order(api: Api):
    answer = post(api, {"histories": [["7", "?"], [], ["x", "x"]], "count": 1}).json()
    assert set(answer) == {"model", "results"}
    assert [one["items"][0]["id"] for one in answer["results"]] == ["12", "12", "7"]
    assert [one["unknown_items"] for one in answer["results"]] == [1, 0, 0]


def test_of_a_long_history_the_latest_items_are_read(api: Api):
    found = recommended(api, ["7"] * (MAX_ITEMS - LENGTH) + ["12"] * LENGTH, leave_out_seen=False)
    assert (found["cut"], found["known_items"]) == (True, MAX_ITEMS)
    assert found["items"] == recommended(api, ["12"] * LENGTH, leave_out_seen=False)["items"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "history"),
        ({"count": 3}, "history"),
        ({"history": None}, "history"),
        ({"history": "7"}, "history"),
        ({"history": {"7": 1}}, "history"),
        ({"history": [7]}, "history.0"),
        ({"history": ["7", None]}, "history.1"),
        ({"history": ["7", ["12"]]}, "history.1"),
        ({"history": ["7" * (MAX_ID + 1)]}, "history.0"),
        ({"history": ["7"] * (MAX_ITEMS + 1)}, "history"),
        ({"history": ["7"], "user": "me"}, "user"),
        ({"history": ["7"], "count": None}, "count"),
        ({"history": ["7"], "count": 0}, "count"),
        ({"history": ["7"], "count": -1}, "count"),
        ({"history": ["7"], "count": MAX_COUNT + 1}, "count"),
        ({"history": ["7"], "count": 10**400}, "count"),
        ({"history": ["7"], "count": 2.0}, "count"),
        ({"history": ["7"], "count": True}, "count"),
        ({"history": ["7"], "count": "3"}, "count"),
        ({"history": ["7"], "leave_out_seen": None}, "leave_out_seen"),
        ({"history": ["7"], "leave_out_seen": 1}, "leave_out_seen"),
        ({"histories": []}, "histories"),
        ({"histories": None}, "histories"),
        ({"histories": ["7"]}, "histories.0"),
        ({"histories": [["7"], ["7", 1]]}, "histories.1.1"),
        ({"histories": [["7"]], "history": ["7"]}, "history"),
    ],
)
def test_a_wrong_field_is_named(api: Api, given: dict, field: str):
    answer = post(api, given)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error"} and answer.json()["error"].startswith(f"{field}: ")
    assert len(answer.json()["error"]) < 200


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"", JSON, 400),
        ("{", JSON, 400),
        ("[" * 100_000, JSON, 400),
        (b"\xff", JSON, 400),
        ('{"history": ["\\ud800"]}', JSON, 400),
        ('{"history": ["7"], "count": NaN}', JSON, 400),
        ('["7"]', JSON, 422),
        ("null", JSON, 422),
        ({"histories": [["7"]] * 4}, JSON, 413),
        (b" " * (JSON_LIMIT + 1), JSON, 413),
        ({"history": ["7"]}, "text/plain", 415),
        (b"history=7", "application/x-www-form-urlencoded", 415),
    ],
)
def test_unusable_requests_get_one_clear_answer(api: Api, content: Any, kind: str, code: int):
    answer = post(api, content, kind)
    assert answer.status_code == code
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("url", ["/v1/recommend?count=3", "/v1/items?search=a&page=2", "/v1/items?limit=0"])
def test_query_parameters_are_checked(api: Api, url: str):
    method = "POST" if "recommend" in url else "GET"
    assert api(method, url, json={"history": []} if method == "POST" else None).status_code == 400


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.one_of(st.sampled_from(list(ITEMS)), st.text(st.characters(exclude_categories=["Cs"]), max_size=9))))
def test_any_history_gets_an_answer(api: Api, history: list[str]):
    found = recommended(api, history)
    assert found["known_items"] + found["unknown_items"] == len(history)
    assert len({one["id"] for one in found["items"]} & set(history)) == 0 or found["based_on"] == "popularity"


def test_items_are_found_by_title_or_id(api: Api):
    def found(query: str) -> list[str]:
        return [one["id"] for one in api("GET", f"/v1/items{query}").json()["items"]]

    assert found("") == ["12", "7", "x", "0", "a b"]
    assert found("?search=brazil") == ["12"]
    assert found("?search=x&limit=1") == ["x"]  # the id comes before titles that contain it
    assert found("?search=x") == ["x", "a b"]
    assert found("?search=%00") == []
    assert api("GET", "/v1/items?search=film").json()["items"] == [{"id": "a b", "title": HOSTILE}]


def test_the_description_has_no_list_of_items(api: Api):
    found = api("GET", "/v1/model").json()
    assert (found["kind"], found["shape"]) == ("history", [LENGTH, 6, 0])
    assert not {"classes", "reference"} & set(found)


def test_a_full_service_refuses_histories(tmp_path):
    api = Api(tmp_path / "bundle", write=history_bundles.write, queue=2)

    async def conversation(client: httpx.AsyncClient) -> int:
        async with busy(api.service, 2):
            return (await client.post("/v1/recommend", json={"history": []})).status_code

    assert api.run(conversation) == 429


def test_a_bundle_of_another_kind_cannot_be_loaded(tmp_path):
    api = Api(tmp_path / "bundle", write=history_bundles.write, allow_reload=True)
    text_bundles.write(tmp_path / "bundle")
    assert api("POST", "/v1/reload").status_code == 422
    assert recommended(api, ["7"])["items"]


def test_metrics_and_drift_of_histories(tmp_path):
    api = Api(tmp_path / "bundle", {"reference": history_bundles.reference(2000)}, history_bundles.write, max_files=500)
    histories = [["?", "7"], [], *[["12"] * (LENGTH + 1)] * 498]
    for _ in range(8):
        api.service.admission.max_images = 500
        assert post(api, {"histories": histories}).status_code == 200
    found = metrics(api)
    assert found["darkroom_histories_total", "history"] == 8 * 499
    assert found["darkroom_histories_total", "popularity"] == 8
    assert found["darkroom_history_items_total", "unknown"] == 8
    assert found["darkroom_history_items_total", "known"] == 8 * (1 + 498 * (LENGTH + 1))
    assert found["darkroom_histories_cut_total",] == 8 * 498
    report = api("GET", "/v1/drift").json()
    assert set(report["features"]) == {"length", "unknown", "popularity", "confidence"}
    assert report["features"]["length"]["index"] > 0.2
    assert report["features"]["popularity"]["index"] > 0.2
