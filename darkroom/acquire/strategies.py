"""Which unlabelled examples to label next: strategies of active learning.

A strategy yields its choices, best first, for as long as it is asked, so that near duplicates can be left out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import faiss
import numpy as np

from darkroom.acquire.embedding import Predictions
from darkroom.core.spelling import counted

NEIGHBOURS = 20  # by which TypiClust measures how typical an example is
MIN_CLUSTER = 5  # examples: smaller clusters are left to the end
MAX_CLUSTERS = 500
MAX_MEMBERS = 20_000  # of a cluster that are compared with each other; a random part of a larger one
_BLOCK = 10_000  # examples whose distances to many others are computed at a time


class Choice(NamedTuple):
    """An example to label."""

    index: int  # of the pool
    score: float | None  # by which the strategy chose it; None for random
    reason: str  # plain words


@dataclass(frozen=True)
class Pool:
    """The examples to choose from, and those that have a label."""

    features: np.ndarray  # (N, D) float32
    labelled: np.ndarray  # (L, D) float32
    predictions: Predictions | None = None  # of the N examples
    classes: tuple[str, ...] = ()
    squares: np.ndarray = field(init=False)  # (N,) float32: squared lengths of the features

    def __post_init__(self) -> None:
        object.__setattr__(self, "squares", np.einsum("nd,nd->n", self.features, self.features))


Strategy = Callable[[Pool, int, np.random.Generator], Iterator[Choice]]


def at_random(pool: Pool, count: int, random: np.random.Generator) -> Iterator[Choice]:
    """A random sample."""
    for index in random.permutation(len(pool.features)).tolist():
        yield Choice(index, None, "chosen at random")


def margin(pool: Pool, count: int, random: np.random.Generator) -> Iterator[Choice]:
    """Smallest difference between the two largest probabilities.

    Scheffer, Decomain, Wrobel, "Active hidden Markov models for information extraction", 2001.
    """
    found = pool.predictions
    difference = found.probability - found.second_probability
    for index in np.argsort(difference, kind="stable").tolist():
        yield Choice(index, float(difference[index]), f"the model hesitates between {_two(pool, index)}")


def entropy(pool: Pool, count: int, random: np.random.Generator) -> Iterator[Choice]:
    """Largest entropy of the probabilities, in 0..1: as a fraction of that of equal ones."""
    found = pool.predictions
    for index in np.argsort(-found.entropy, kind="stable").tolist():
        yield Choice(index, float(found.entropy[index]), f"the model is unsure: {_two(pool, index)}")


def coreset(pool: Pool, count: int, random: np.random.Generator) -> Iterator[Choice]:
    """Farthest from all examples that are labelled or chosen: the greedy k-center algorithm.

    Without labelled examples it starts at the example nearest to the mean. Sener and Savarese, "Active learning for
    convolutional neural networks: a core-set approach", ICLR 2018.
    """
    if len(pool.labelled):
        nearest, reason = _nearest(pool), "far from all labelled examples and those chosen before"
    else:
        centre = pool.features.mean(0, dtype=np.float64).astype(np.float32)
        first = int(np.argmin(pool.squares - 2 * pool.features @ centre))
        yield Choice(first, 0.0, "nearest to the mean of all examples")
        nearest, reason = _squared_distances(pool, first), "far from those chosen before"
        nearest[first] = -1
    while (index := int(np.argmax(nearest))) >= 0 and nearest[index] >= 0:
        yield Choice(index, float(np.sqrt(nearest[index])), reason)
        np.minimum(nearest, _squared_distances(pool, index), out=nearest)
        nearest[index] = -1


def badge(pool: Pool, count: int, random: np.random.Generator) -> Iterator[Choice]:
    """Examples whose gradients are large and different: k-means++ on gradients of the last layer.

    The gradient of the loss, for the predicted class as label, is the product a h of a = probabilities - label (K) and
    the features h (D). Distances follow from those of the factors, so the N x K x D gradients are never computed:
    |a h - b g|^2 = |a|^2 |h|^2 + |b|^2 |g|^2 - 2 (a b) (h g). Ash et al., "Deep batch active learning by diverse,
    uncertain gradient lower bounds", ICLR 2020.
    """
    residuals = pool.predictions.residuals
    squares = np.einsum("nk,nk->n", residuals, residuals) * pool.squares
    index = int(np.argmax(squares))
    distance, nearest, left = squares[index], np.full(len(squares), np.inf, np.float32), np.ones(len(squares), bool)
    while True:
        yield Choice(
            index, float(np.sqrt(distance)), f"unlike those chosen in what the model learns: {_two(pool, index)}"
        )
        left[index] = False
        if not left.any():
            return
        products = (residuals @ residuals[index]) * (pool.features @ pool.features[index])
        np.minimum(nearest, np.maximum(squares + squares[index] - 2 * products, 0), out=nearest)
        weights = np.where(left, nearest, 0).astype(np.float64)
        if not weights.any():  # all others have the gradients of chosen ones
            weights[left] = 1
        index = int(random.choice(len(weights), p=weights / weights.sum()))
        distance = nearest[index]


def typiclust(pool: Pool, count: int, random: np.random.Generator) -> Iterator[Choice]:
    """The most typical example of each large cluster without a label, for when there are few labels.

    k-means finds as many clusters as there are labels and choices, at most MAX_CLUSTERS, in features of length 1.
    Clusters with the fewest labels come first, larger ones before smaller. An example is typical if its mean distance
    to its NEIGHBOURS nearest ones in the cluster is small. Hacohen, Dekel, Weinshall, "Active learning on a budget:
    opposite strategies suit high and low budgets", ICML 2022.
    """
    found, labels = _clusters(pool, min(len(pool.labelled) + count, MAX_CLUSTERS, len(pool.features)), random)
    number = len(labels)
    order: dict[int, Iterator[tuple[int, float]]] = {}
    free = np.bincount(found, minlength=number)
    sizes, taken = free + labels, labels.copy()
    while free.any():
        large = free >= min(MIN_CLUSTER, free.max())
        cluster = int(np.lexsort([-free, taken, ~large])[0])
        if cluster not in order:
            order[cluster] = _by_typicality(pool.features, np.flatnonzero(found == cluster), random)
        index, typicality = next(order[cluster])
        reason = f"typical of a cluster of {counted(int(sizes[cluster]), 'example')}"
        yield Choice(index, typicality, f"{reason}, {counted(int(labels[cluster]), 'label')} so far")
        taken[cluster] += 1
        free[cluster] -= 1


STRATEGIES: dict[str, Strategy] = {
    "random": at_random,
    "margin": margin,
    "entropy": entropy,
    "coreset": coreset,
    "badge": badge,
    "typiclust": typiclust,
}
NEED_MODEL = ("margin", "entropy", "badge")  # need predictions
NEED_LABELLED = ("coreset", "typiclust")  # need the features of the labelled examples


def _two(pool: Pool, index: int) -> str:
    """The two most probable classes with their probabilities."""
    found = pool.predictions
    return " or ".join(
        f"{pool.classes[label]} {probability:.0%}"
        for label, probability in (
            (found.label[index], found.probability[index]),
            (found.second_label[index], found.second_probability[index]),
        )
    )


def _squared_distances(pool: Pool, index: int) -> np.ndarray:
    """Squared distances (N,) float32 of all examples to one."""
    products = pool.features @ pool.features[index]
    return np.maximum(pool.squares + pool.squares[index] - 2 * products, 0)


def _nearest(pool: Pool) -> np.ndarray:
    """Squared distances (N,) float32 to the nearest labelled example."""
    index = faiss.IndexFlatL2(pool.features.shape[1])
    index.add(pool.labelled)
    blocks = (pool.features[start : start + _BLOCK] for start in range(0, len(pool.features), _BLOCK))
    return np.concatenate([np.maximum(index.search(block, 1)[0][:, 0], 0) for block in blocks])


def _clusters(pool: Pool, number: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The cluster (N,) int64 of each example, and the number of labelled examples (clusters,) int64 in each."""
    if number == 1:
        return np.zeros(len(pool.features), np.int64), np.array([len(pool.labelled)])
    seed = int(random.integers(2**31 - 1))
    kmeans = faiss.Kmeans(pool.features.shape[1], number, niter=20, seed=seed, min_points_per_centroid=1)
    total = len(pool.features) + len(pool.labelled)
    sample = np.sort(random.permutation(total)[: number * kmeans.cp.max_points_per_centroid])
    split = np.searchsorted(sample, len(pool.features))
    parts = pool.features[sample[:split]], pool.labelled[sample[split:] - len(pool.features)]
    kmeans.train(_units(np.concatenate(parts)))

    def assigned(features: np.ndarray) -> np.ndarray:
        blocks = (features[start : start + _BLOCK] for start in range(0, len(features), _BLOCK))
        return np.concatenate(
            [np.empty(0, np.int64), *(kmeans.index.search(_units(block), 1)[1][:, 0] for block in blocks)]
        )

    return assigned(pool.features), np.bincount(assigned(pool.labelled), minlength=number)


def _units(features: np.ndarray) -> np.ndarray:
    """The features (N, D) float32 with length 1; those of length 0 as they are."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def _by_typicality(
    features: np.ndarray, members: np.ndarray, random: np.random.Generator
) -> Iterator[tuple[int, float]]:
    """The members (n,) int64 of a cluster, most typical first, each with the inverse of its mean distance."""
    compared = members
    if len(members) > MAX_MEMBERS:
        compared = np.sort(random.choice(members, MAX_MEMBERS, replace=False))
    units = _units(features[compared])
    index = faiss.IndexFlatL2(units.shape[1])
    index.add(units)
    near = min(NEIGHBOURS, max(1, len(units) // 2)) + 1  # the nearest one is the example itself
    distances = np.sqrt(np.maximum(index.search(units, min(near, len(units)))[0][:, 1:], 0))
    typicality = 1 / (distances.mean(1) + 1e-5) if distances.size else np.ones(len(units))
    order = np.argsort(-typicality, kind="stable")
    yield from zip(compared[order].tolist(), typicality[order].tolist(), strict=True)
    yield from ((index, 0.0) for index in np.setdiff1d(members, compared).tolist())
