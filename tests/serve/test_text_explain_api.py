"""Tests of POST /v1/explain for texts."""

import json
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkroom.explain.occlusion import log_odds
from darkroom.serve.text_work import PARTS, _parts
from darkroom.tokens import text
from tests import text_bundles
from tests.serving import Api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    asked = Api(tmp_path_factory.mktemp("texts") / "bundle", write=text_bundles.write)
    yield asked
    asked.service.close()


def explained(api: Api, text: str) -> dict:
    answer = api("POST", "/v1/explain", content=text, headers={"content-type": "text/plain"})
    assert answer.status_code == 200
    return answer.json()


def test_the_values_are_the_decrease_of_the_log_odds_without_each_token(api: Api):
    words = ["Lost", "my", "card", "not", "pin"]
    found = explained(api, " Lost my  card not pin ")
    variants = [words, *([*words[:k], *words[k + 1 :]] for k in range(5))]
    logits = text_bundles.scores(np.array([text_bundles.ids(" ".join(some)) for some in variants]))
    odds = log_odds(logits, 0)
    assert found["label"] == "card" and not found["cut"]
    assert found["probability"] == pytest.approx(text_bundles.softmax(logits)[0, 0])
    valued = [part for part in found["parts"] if part["value"] is not None]
    assert [part["text"] for part in valued] == words
    assert [part["value"] for part in valued] == pytest.approx((odds[0] - odds[1:]).tolist(), abs=1e-3)
    assert valued[2]["value"] > 0 > valued[4]["value"]
    assert "".join(part["text"] for part in found["parts"]) == "Lost my  card not pin"


def test_what_the_model_does_not_read_has_no_value(api: Api):
    found = explained(api, "pin " * text_bundles.LENGTH + "card")
    assert found["cut"] and found["parts"][-1] == {"text": " card", "value": None}


def test_one_token(api: Api):
    [part] = explained(api, "card")["parts"]
    assert part["value"] == pytest.approx(log_odds(np.array([[4.0, 0, 0], [0, 0, 0]]), 0) @ [1, -1], abs=1e-3)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_the_parts_are_the_text(api: Api, given: str):
    try:
        cleaned = text.clean(given)
    except text.Unusable:
        return
    assert "".join(part["text"] for part in explained(api, given)["parts"]) == cleaned


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        ("", "text/plain", 422),
        ("card", "image/png", 415),
        (json.dumps({"texts": ["card", "pin"]}), "application/json", 400),
        (json.dumps({"text": "card"}), "application/json", 200),
        ("a" * 100_000, "text/plain", 413),
    ],
)
def test_which_requests_are_explained(api: Api, content: str, kind: str, code: int):
    assert api("POST", "/v1/explain", content=content, headers={"content-type": kind}).status_code == code


def test_tokens_of_one_character_are_left_out_together():
    spans = [(0, 0), (0, 1), (0, 1), (1, 2), (2, 4), (3, 4), (0, 0)]
    assert _parts(spans) == ([[1, 2], [3], [4, 5]], [(0, 1), (1, 2), (2, 4)])


@given(st.integers(1, 1000))
def test_the_work_is_bounded(count: int):
    groups, places = _parts([(number, number + 1) for number in range(count)])
    assert len(groups) == len(places) <= PARTS
    assert [*chain.from_iterable(groups)] == list(range(count))
    assert (places[0][0], places[-1][1]) == (0, count)
