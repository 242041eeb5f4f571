"""Recommenders without a network."""

import numpy as np
import pytest
from scipy import sparse

from darkroom.evaluate import baselines
from darkroom.evaluate.baselines import Ease, ItemKnn, Popularity, similarities

# Users' items: {0, 1}, {0, 1, 2}, {0, 2}, {3}
EVENTS = sparse.csr_array(np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1]], bool))


def test_popularity_is_the_same_for_everyone():
    scores = Popularity(np.array([3, 2, 2, 1])).scores(np.array([[1, 0], [2, 3]], np.int32))
    assert scores.tolist() == [[3, 2, 2, 1]] * 2


def test_similarities_are_cosines_of_common_users():
    found = similarities(EVENTS).toarray()
    expected = np.zeros((4, 4))
    for one, other, common in ((0, 1, 2), (0, 2, 2), (1, 2, 1)):
        sizes = EVENTS.toarray().sum(0)
        expected[one, other] = expected[other, one] = common / np.sqrt(sizes[one] * sizes[other])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_item_has_its_most_similar_neighbours_only(monkeypatch: pytest.MonkeyPatch):
    whole = similarities(EVENTS).toarray()
    monkeypatch.setattr(baselines, "NEIGHBOURS", 1)
    found = similarities(EVENTS).toarray()
    assert found[0, 1] == found[0, 2] == whole[0, 1] and (found[:, 1] > 0).tolist() == [True, False, False, False]


def test_recent_events_count_more():
    knn = ItemKnn(similarities(EVENTS), half_life=1.0)
    similar = similarities(EVENTS).toarray()
    scores = knn.scores(np.array([[2, 3, 0], [4, 0, 0], [2, 3, 2]], np.int32))
    np.testing.assert_allclose(scores[0], 0.5 * similar[1] + similar[2], rtol=1e-6)
    assert not scores[1].any()  # nobody had anything else
    np.testing.assert_allclose(scores[2], 1.25 * similar[1] + 0.5 * similar[2], rtol=1e-6)


def test_ease_is_its_closed_form():
    gram = EVENTS.toarray().astype(float).T @ EVENTS.toarray()
    inverse = np.linalg.inv(gram + 2 * np.eye(4))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    ease = Ease(EVENTS, penalty=2.0)
    np.testing.assert_allclose(ease.weights, expected, rtol=1e-5, atol=1e-7)
    scores = ease.scores(np.array([[1, 3, 0]], np.int32))
    np.testing.assert_allclose(scores[0], expected[0] + expected[2], rtol=1e-5)


def test_ease_solves_the_regression_of_each_item_on_the_others():
    random = np.random.default_rng(0)
    events = sparse.csr_array(random.random((30, 6)) < 0.4)
    dense, weights = events.toarray().astype(float), Ease(events, penalty=3.0).weights
    for item in range(6):
        others = np.delete(dense, item, axis=1)
        ridge = np.linalg.solve(others.T @ others + 3 * np.eye(5), others.T @ dense[:, item])
        np.testing.assert_allclose(np.delete(weights[:, item], item), ridge, rtol=1e-4, atol=1e-6)


def test_ease_knows_the_most_popular_items_only():
    ease = Ease(EVENTS, penalty=2.0, known=3)
    scores = ease.scores(np.array([[1, 4, 0]], np.int32))
    assert ease.items.tolist() == [0, 1, 2] and scores[0].argmin() == 3 and np.isfinite(scores).all()


def test_blocks_of_columns_change_nothing(monkeypatch: pytest.MonkeyPatch):
    whole, ease = similarities(EVENTS).toarray(), Ease(EVENTS, penalty=2.0).weights
    monkeypatch.setattr(baselines, "VALUES", 4)  # one column at a time
    np.testing.assert_array_equal(similarities(EVENTS).toarray(), whole)
    np.testing.assert_array_equal(Ease(EVENTS, penalty=2.0).weights, ease)


def test_the_best_setting_is_chosen():
    found = baselines.fit(EVENTS, np.array([3, 2, 2, 1]), lambda one: -len(one.setting))
    assert list(found) == ["popularity", "item_knn", "ease"]
    assert found["item_knn"].setting == "half_life=1" and found["ease"].setting == "penalty=100"
