"""Tests of bundles of histories: which items are recommended, and which files are refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.bundle import classifier, histories
from darkroom.bundle.histories import Recommender, best
from darkroom.core.errors import DarkroomError
from tests import history_bundles
from tests.history_bundles import EVENTS, ITEMS, LENGTH

IDS = list(ITEMS)


def read(folder: Path, **fields: object) -> Recommender:
    history_bundles.write(folder / "bundle", **fields)
    bundle = classifier.read(folder / "bundle", threads=1)
    classifier.check_golden(bundle, folder / "bundle")
    found = Recommender(bundle)
    found.prepare()
    return found


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return read(tmp_path_factory.mktemp("histories"))


def test_the_most_probable_unseen_items_come_first(recommender: Recommender):
    [found] = recommender.recommend([["7"]], count=3)
    assert [IDS[index] for index in found.items] == ["12", "a b", "0"]
    assert found.probabilities == pytest.approx(history_bundles.softmax(history_bundles.of(["7"]))[[1, 2, 3]])
    assert (found.popular, found.known, found.unknown, found.cut) == (False, 1, 0, False)


def test_items_of_the_history_can_be_kept(recommender: Recommender):
    history = ["12", "7"]
    assert [IDS[index] for index in recommender.recommend([history], 5)[0].items] == ["a b", "0", "x"]
    found = recommender.recommend([history], 5, leave_out_seen=False)[0]
    assert [IDS[index] for index in found.items] == ["a b", "12", "0", "7", "x"]  # equal scores: the first item


def test_unknown_ids_are_counted_and_skipped(recommender: Recommender):
    [with_unknown, without] = recommender.recommend([["\0", "7", "7 ", "None"], ["7"]])
    assert (with_unknown.known, with_unknown.unknown) == (1, 3)
    assert with_unknown.items.tolist() == without.items.tolist()


@pytest.mark.parametrize(("history", "unknown"), [([], 0), (["?", "?"], 2)])
def test_without_a_known_item_the_most_frequent_are_recommended(recommender: Recommender, history: list, unknown: int):
    [found] = recommender.recommend([history], count=3)
    assert (found.popular, found.known, found.unknown) == (True, 0, unknown)
    assert [IDS[index] for index in found.items] == ["12", "7", "x"]
    assert found.probabilities == pytest.approx(np.array([9, 5, 5]) / sum(EVENTS))


def test_the_latest_items_are_read_and_none_of_the_others_is_recommended(recommender: Recommender):
    history = ["7", *["12"] * LENGTH]
    [found] = recommender.recommend([history], count=5)
    assert (found.cut, found.known) == (True, LENGTH + 1)
    assert [IDS[index] for index in found.items] == ["a b", "0", "x"]
    assert found.confidence == pytest.approx(history_bundles.softmax(history_bundles.of(history)).max())


def test_all_items_seen(recommender: Recommender):
    [found] = recommender.recommend([IDS])
    assert found.items.tolist() == [] and not found.popular and found.confidence > 0


def test_histories_of_any_lengths_are_answered_in_their_order(recommender: Recommender, monkeypatch):
    monkeypatch.setattr(histories, "_MAX_READ", 3)
    given = [["7", "12", "x"], [], ["x"], ["?"], ["12"] * 7, ["0"]]
    found = recommender.recommend(given, 5)
    assert [one.popular for one in found] == [False, True, False, True, False, False]
    for history, one in zip(given, found, strict=True):
        [alone] = recommender.recommend([history], 5)
        assert one.items.tolist() == alone.items.tolist()
        assert one.probabilities.tolist() == alone.probabilities.tolist()


def test_logits_of_all_histories_need_not_fit_in_memory(recommender: Recommender, monkeypatch):
    monkeypatch.setattr(histories, "_MAX_OUTPUT", 12)
    given = np.array([[1, 0], [2, 3], [4, 0], [5, 1], [2, 0]])
    parts = [len(part) for part, *_ in histories.batches(recommender.bundle.session, given)]
    assert parts == [2, 2, 1]
    logits, probabilities = histories.answers(recommender.bundle.session, given)
    assert logits.tolist() == history_bundles.scores(given).tolist()
    assert probabilities == pytest.approx(history_bundles.softmax(logits))


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(1, 40), st.sets(st.integers(0, 29), max_size=30)
)
def test_best_is_the_beginning_of_a_stable_sort(scores: list[int], count: int, left_out: set[int]):
    out = [index for index in sorted(left_out) if index < len(scores)]
    values = np.array(scores, np.float32)
    expected = [index for index in np.argsort(-values, kind="stable").tolist() if index not in out][:count]
    assert best(values, count, np.array(out, np.int64)).tolist() == expected


def test_items_are_searched_by_the_words_of_their_titles(recommender: Recommender):
    catalogue = recommender.catalogue
    assert [IDS[index] for index in catalogue.search("", 10)] == ["12", "7", "x", "0", "a b"]
    assert [IDS[index] for index in catalogue.search("a", 2)] == ["12", "7"]
    assert [IDS[index] for index in catalogue.search(" FILM  img ", 10)] == ["a b"]
    assert catalogue.search("nothing", 10) == []


@given(
    st.lists(st.text("ab \n\u00df", max_size=5), min_size=1, max_size=8), st.text("abB ", max_size=4), st.integers(1, 9)
)
def test_a_search_finds_what_a_comparison_one_by_one_finds(titles: list[str], words: str, limit: int):
    catalogue = histories.Catalogue(titles, np.arange(len(titles))[::-1])
    wanted = words.casefold().split()
    expected = [index for index, title in enumerate(titles) if all(word in title.casefold() for word in wanted)]
    assert catalogue.search(words, limit) == expected[:limit]


def test_a_catalogue_without_events_has_no_popularity(tmp_path: Path):
    [found] = read(tmp_path, counts=[0] * 5).recommend([[]], 2)
    assert (found.items.tolist(), found.probabilities.tolist()) == ([0, 1], [0, 0])


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"\xff",
        b"item,title\n7,Alien\n",
        history_bundles.described({**ITEMS, "new": "New"}, (*EVENTS, 1)),
        history_bundles.described(dict(reversed(ITEMS.items())), EVENTS),
        history_bundles.described(ITEMS, EVENTS).replace(b",9\n", b",many\n"),
        history_bundles.described(ITEMS, EVENTS).replace(b",9\n", b",99999999999999999999\n"),
        history_bundles.described(ITEMS, EVENTS).replace(b"Brazil", b'"Brazil'),
    ],
)
def test_invalid_items_are_found_before_the_first_history(tmp_path: Path, contents: bytes):
    with pytest.raises(DarkroomError, match=r"items\.csv"):
        read(tmp_path, files={"items.csv": contents})


@pytest.mark.parametrize(
    "fields",
    [
        {"classes": ["7", "12", "a b", "0"]},
        {"classes": ["7", "12", "a b", "0", "7"]},
        {"shape": [4, 6]},
        {"reference": {"samples": 1}},
        {"temperature": 0.0},
    ],
)
def test_an_invalid_manifest_is_refused(tmp_path: Path, fields: dict):
    with pytest.raises(DarkroomError):
        read(tmp_path, **fields)


def test_the_latency_is_measured_with_a_history_that_the_model_can_read(tmp_path: Path):
    assert classifier.latency_ms(read(tmp_path).bundle, repeats=2) > 0
