"""Tests of POST /v1/explain for histories."""

from collections.abc import Iterator

import numpy as np
import pytest

from darkroom.explain.occlusion import log_odds
from darkroom.serve import history_work
from tests import history_bundles
from tests.history_bundles import ITEMS, LENGTH
from tests.serve.test_history_api import post
from tests.serving import Api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    asked = Api(tmp_path_factory.mktemp("histories") / "bundle", write=history_bundles.write)
    yield asked
    asked.service.close()


def explained(api: Api, history: list[str], **options: str) -> dict:
    answer = post(api, {"history": history, **options}, route="explain")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_values_are_the_decrease_of_the_log_odds_without_each_event(api: Api):
    history = ["7", "?", "12", "7"]
    found = explained(api, history)
    variants = [history, ["12", "7"], ["7", "7"], ["7", "12"]]
    logits = np.stack([history_bundles.of(one) for one in variants])
    scores = log_odds(logits, 2)
    assert found["item"]["id"] == "a b"
    assert found["item"]["probability"] == pytest.approx(history_bundles.softmax(logits)[0, 2])
    values = [event["value"] for event in found["events"]]
    assert values[1] is None
    assert [values[0], *values[2:]] == pytest.approx((scores[0] - scores[1:]).tolist(), abs=1e-3)
    assert [event["title"] for event in found["events"]] == ["Alien", "", "Brazil", "Alien"]


def test_any_item_can_be_explained(api: Api):
    found = explained(api, ["7", "12"], item="7")
    scores = log_odds(np.stack([history_bundles.of(one) for one in (["7", "12"], ["12"], ["7"])]), 0)
    assert found["item"]["id"] == "7"
    assert [event["value"] for event in found["events"]] == pytest.approx((scores[0] - scores[1:]).tolist(), abs=1e-3)


def test_what_was_not_left_out_has_no_value(api: Api, monkeypatch: pytest.MonkeyPatch):
    assert [event["value"] for event in explained(api, ["7"])["events"]] == [None]
    cut = explained(api, ["7", *["12"] * LENGTH])["events"]
    assert [event["value"] is None for event in cut] == [True, *[False] * LENGTH]
    monkeypatch.setattr(history_work, "EVENTS", 2)
    assert [event["value"] is None for event in explained(api, ["7"] * 4)["events"]] == [True, True, False, False]


def test_all_items_seen(api: Api):
    assert explained(api, [*list(ITEMS)[:LENGTH], "x"])["item"]["id"] in ITEMS


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"history": []}, 422),
        ({"history": ["?"]}, 422),
        ({"history": ["7"], "item": "?"}, 422),
        ({"history": ["7"], "item": 7}, 422),
        ({"history": ["7"], "item": None}, 200),
        ({"history": ["7"], "count": 3}, 422),
        ({"histories": [["7"]]}, 422),
        ({"item": "7"}, 422),
    ],
)
def test_which_requests_are_explained(api: Api, given: dict, code: int):
    assert post(api, given, route="explain").status_code == code
