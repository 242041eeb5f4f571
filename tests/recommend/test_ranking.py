"""Ranks of the next item among all items."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from darkroom.core.errors import DarkroomError
from darkroom.recommend import ranking

NONE = sparse.csr_array((1, 5), dtype=bool)


def seen(*items: int, count: int = 5) -> sparse.csr_array:
    row = np.zeros((1, count), bool)
    row[0, list(items)] = True
    return sparse.csr_array(row)


def test_ranks_by_hand():
    scores = np.array([[0.1, 0.5, 0.3, 0.9, 0.2]])
    for label, rank in enumerate((5, 2, 3, 1, 4)):
        found = ranking.rank(scores, np.array([label]), NONE)
        assert found.ranks.tolist() == [rank]
        assert found.best[0].tolist() == [3, 1, 2, 4, 0] + [-1] * 15


def test_seen_items_are_not_recommended_even_if_one_comes_next():
    scores = np.array([[0.1, 0.5, 0.3, 0.9, 0.2]])
    found = ranking.rank(scores, np.array([2]), seen(1, 3))
    assert found.ranks.tolist() == [1] and found.best[0, :4].tolist() == [2, 4, 0, -1]
    again = ranking.rank(scores, np.array([3]), seen(1, 3))  # what scores seen items highest finds nothing by that
    assert again.ranks.tolist() == [21] and again.best[0, :4].tolist() == [2, 4, 0, -1]
    nothing = ranking.rank(scores, np.array([3]), seen(0, 1, 2, 3, 4))
    assert nothing.ranks.tolist() == [21] and nothing.best.max() == -1
    assert not any(again.hits(k) or ranking.gains(again.ranks, k) for k in ranking.KS)
    many = ranking.rank(np.arange(30.0)[None], np.array([29]), seen(29, count=30))
    assert many.ranks.tolist() == [31]


def test_ties_are_ranked_pessimistically():
    found = ranking.rank(np.array([[2.0, 1.0, 1.0, 1.0, 0.0]]), np.array([1]), NONE)
    assert found.ranks.tolist() == [4] and found.best[0, :5].tolist() == [0, 2, 3, 1, 4]
    assert ranking.rank(np.zeros((1, 5)), np.array([0]), NONE).ranks.tolist() == [5]


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(DarkroomError, match="not finite"):
        ranking.rank(np.array([[np.nan, 1, 2, 3, 4]]), np.array([1]), NONE)


CASES = st.integers(0, 10_000).map(np.random.default_rng)


@given(CASES)
def test_rules_of_every_ranking(random: np.random.Generator):
    count, items = int(random.integers(1, 6)), int(random.integers(1, 40))
    scores = random.integers(0, 8, (count, items)).astype(np.float32)  # with many ties
    labels, left_out = random.integers(0, items, count), sparse.csr_array(random.random((count, items)) < 0.3)
    found = ranking.rank(scores, labels, left_out)
    is_left_out = left_out[np.arange(count), labels]
    assert (found.ranks >= 1).all() and (found.ranks[~is_left_out] <= items).all()
    assert (found.ranks[is_left_out] == max(items, ranking.TOP) + 1).all()
    for row, (label, rank) in enumerate(zip(labels, found.ranks, strict=True)):
        best = found.best[row][found.best[row] >= 0].tolist()
        allowed = set(range(items)) - set(left_out[[row]].nonzero()[1].tolist())
        assert len(best) == len(set(best)) == min(len(allowed), ranking.TOP) and set(best) <= allowed
        assert (label in best) == (label in allowed and rank <= ranking.TOP)
        assert label not in best or best[rank - 1] == label
        listed = scores[row, best]
        assert (np.diff(listed) <= 0).all()
    # An item that the user has had as well takes nothing away from the next one
    others = random.random((count, items)) < 0.3
    others[np.arange(count), labels] = False
    more = sparse.csr_array(left_out.toarray() | others)
    assert (ranking.rank(scores, labels, more).ranks <= found.ranks).all()


@given(CASES)
def test_blocks_give_the_same_as_all_at_once(random: np.random.Generator):
    scores, labels = random.random((30, 7)).astype(np.float32), random.integers(0, 7, 30)
    left_out = sparse.csr_array(random.random((30, 7)) < 0.2)
    whole, step = ranking.rank(scores, labels, left_out), int(random.integers(1, 31))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "VALUES", 7 * step)
        blocks = ranking.in_blocks(lambda rows: scores[rows], np.arange(30), labels, left_out)
    np.testing.assert_array_equal(whole.ranks, blocks.ranks)
    np.testing.assert_array_equal(whole.best, blocks.best)


def test_blocks_are_bounded():
    parts = list(ranking.blocks(100_000, 50_000))
    assert parts[0].stop * 50_000 <= ranking.VALUES and parts[-1].stop >= 100_000
    assert all(one.stop == other.start for one, other in pairwise(parts))
    assert list(ranking.blocks(2, 10 * ranking.VALUES)) == [slice(0, 1), slice(1, 2)]


def test_measures_are_those_of_the_definitions():
    ranks = np.array([1, 2, 3, 10, 11, 4000])
    assert ranking.hits(ranks, 10).tolist() == [True] * 4 + [False] * 2
    for k in (1, 3, 10):
        for rank, gain in zip(ranks.tolist(), ranking.gains(ranks, k).tolist(), strict=True):
            relevance = [float(place == rank) for place in range(1, k + 1)]
            dcg = sum(one / math.log2(place + 1) for place, one in enumerate(relevance, 1))
            assert gain == pytest.approx(dcg)  # the ideal gain is 1
    assert ranking.reciprocal(ranks).tolist() == [1 / rank for rank in ranks.tolist()]


def test_gains_are_those_of_scikit_learn():
    from sklearn.metrics import ndcg_score

    random = np.random.default_rng(0)
    scores, labels = random.random((40, 12)), random.integers(0, 12, 40)
    found = ranking.rank(scores, labels, sparse.csr_array((40, 12), dtype=bool))
    expected = ndcg_score(np.eye(12)[labels], scores.astype(np.float32), k=5)
    assert ranking.gains(found.ranks, 5).mean() == pytest.approx(expected)
