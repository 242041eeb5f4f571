from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.acquire import embedding, strategies
from darkroom.acquire.strategies import STRATEGIES, Pool

CLASSES = ("cat", "dog", "owl")


def pool(features: np.ndarray, probabilities: np.ndarray | None = None, labelled: np.ndarray | None = None) -> Pool:
    """A pool of features (N, D), with predictions if there are probabilities (N, K)."""
    predictions = None
    if probabilities is not None:
        random = np.random.default_rng(0)
        indices = np.arange(len(probabilities))
        predictions = embedding.summarised(lambda rows: np.array(probabilities[rows]), indices, random)
    nothing = np.empty((0, features.shape[1]))
    known = nothing if labelled is None else labelled
    return Pool(features.astype(np.float32), known.astype(np.float32), predictions, CLASSES)


def choose(name: str, some: Pool, count: int, seed: int = 0) -> list[int]:
    found = STRATEGIES[name](some, count, np.random.default_rng(seed))
    return [choice.index for choice in islice(found, count)]


PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.4, 0.35, 0.25], [0.2, 0.1, 0.7]])


def test_margin_and_entropy_ask_for_what_the_model_is_unsure_of():
    some = pool(np.eye(4), PROBABILITIES)
    assert choose("margin", some, 4) == [1, 2, 3, 0]
    assert choose("entropy", some, 4) == [2, 3, 1, 0]
    first = next(STRATEGIES["margin"](some, 1, np.random.default_rng(0)))
    assert first.score == 0 and "cat 50% or dog 50%" in first.reason
    assert some.predictions.entropy.max() <= 1


def test_coreset_covers_what_is_far_from_the_labelled_examples():
    line = np.array([[0.0], [1.0], [2.0], [9.0], [10.0]])
    assert choose("coreset", pool(line, labelled=np.array([[0.0]])), 3) == [4, 2, 1]
    assert choose("coreset", pool(line), 2) == [2, 4]  # starts in the middle: the mean is 4.4


def test_coreset_gives_each_example_once_even_if_all_are_equal():
    assert sorted(choose("coreset", pool(np.ones((4, 2)), labelled=np.ones((1, 2))), 9)) == [0, 1, 2, 3]


def explicit_badge(some: Pool, count: int, seed: int) -> list[int]:
    """k-means++ on gradients (N, K * D) that are computed in full."""
    residuals = some.predictions.residuals
    gradients = (residuals[:, :, None] * some.features[:, None]).reshape(len(residuals), -1)
    random, chosen = np.random.default_rng(seed), [int((gradients**2).sum(1).argmax())]
    while len(chosen) < count:
        nearest = ((gradients[:, None] - gradients[chosen]) ** 2).sum(2).min(1).astype(np.float64)
        nearest[chosen] = 0
        chosen.append(int(random.choice(len(nearest), p=nearest / nearest.sum())))
    return chosen


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_badge_is_k_means_plus_plus_on_gradients_that_it_never_computes(seed: int):
    random = np.random.default_rng(seed)
    some = pool(random.standard_normal((40, 5)), random.dirichlet(np.ones(3), 40))
    assert choose("badge", some, 8, seed) == explicit_badge(some, 8, seed)


def test_typiclust_takes_the_middle_of_each_cluster_without_a_label():
    random = np.random.default_rng(0)
    centres = np.eye(4) * 10
    clusters = np.concatenate([centre + 0.3 * random.standard_normal((30, 4)) for centre in centres])
    clusters[[5, 35, 65, 95]] = centres
    found = choose("typiclust", pool(clusters), 4)
    assert {index // 30 for index in found} == {0, 1, 2, 3}
    middle = np.linalg.norm(strategies._units(clusters) - strategies._units(centres).repeat(30, 0), axis=1)
    assert max(middle[found]) < np.median(middle)
    labelled = pool(clusters, labelled=centres[:2])
    assert {index // 30 for index in choose("typiclust", labelled, 2)} == {2, 3}


def test_only_a_part_of_a_large_cluster_is_compared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(strategies, "MAX_MEMBERS", 10)
    some = pool(np.random.default_rng(0).standard_normal((50, 3)))
    assert sorted(choose("typiclust", some, 60)) == list(range(50))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(0, 6), st.sampled_from(list(STRATEGIES)), st.integers(0, 99), st.booleans())
def test_every_strategy_gives_each_example_once_and_repeats(
    size: int, labelled: int, name: str, seed: int, alike: bool
):
    random = np.random.default_rng(seed)
    features = np.ones((size, 3)) if alike else random.standard_normal((size, 3))
    known = random.standard_normal((labelled, 3))
    some = pool(features, random.dirichlet(np.ones(3), size), known)
    found = choose(name, some, size + 1, seed)
    assert sorted(found) == list(range(size))
    assert found == choose(name, some, size + 1, seed)


def test_random_choices_depend_on_the_seed_alone():
    some = pool(np.zeros((100, 2)))
    assert choose("random", some, 10, 1) == choose("random", some, 10, 1) != choose("random", some, 10, 2)
