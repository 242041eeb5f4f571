"""Inputs that are histories: the items of a user's latest events, (N, L) integers, oldest first, 0 at the end.

Class i is item i + 1 of the inputs. A network of histories is causal: what it gives at a position depends on the events
up to it alone, so one pass over a history learns to predict each of its items from those before it.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from darkroom.models.sequences import PADDING, SequenceNetwork


class ItemEmbedding(nn.Module):
    """A vector for each item: its own, and the sum of those of its features, if items have features.

    An item without training events then has those of its features alone: its own would stay what chance made it. The
    vector of padding is 0.
    """

    def __init__(self, shape: tuple[int, ...], embed_dim: int):
        super().__init__()
        _, tokens, features = shape
        self.weight = nn.Parameter(torch.empty(tokens, embed_dim))
        nn.init.normal_(self.weight, std=embed_dim**-0.5)
        nn.init.zeros_(self.weight[PADDING].data)
        self.has_features = features > 0
        if self.has_features:
            self.register_buffer("features", torch.zeros(tokens, features))
            self.register_buffer("known", torch.ones(tokens, 1))
            self.feature_weight = nn.Parameter(torch.empty(features, embed_dim))
            nn.init.normal_(self.feature_weight, std=embed_dim**-0.5)

    def fit(self, features: np.ndarray) -> None:
        """Take the features (items, F) float32 of the items."""
        self.features[PADDING + 1 :] = torch.from_numpy(features).to(self.features)

    def leave_out(self, unknown: np.ndarray) -> None:
        """Give the items of which `unknown` (items,) bool is true no vector of their own, if items have features."""
        if self.has_features:
            self.known[PADDING + 1 :][torch.from_numpy(unknown)] = 0

    def forward(self, indices: Tensor) -> Tensor:
        """Vectors (..., D) of items (...) int64."""
        vectors = embedding(indices, self.weight, PADDING)
        if self.has_features:
            vectors = vectors * embedding(indices, self.known) + embedding(indices, self.features) @ self.feature_weight
        return vectors

    def vectors(self) -> Tensor:
        """The vectors (items, D) of all items, without that of padding."""
        own = self.weight[PADDING + 1 :]
        if not self.has_features:
            return own
        return own * self.known[PADDING + 1 :] + self.features[PADDING + 1 :] @ self.feature_weight


class ItemScores(nn.Module):
    """Logits of all items: the products of states with the vectors of an ItemEmbedding, and a bias of each item."""

    def __init__(self, items: ItemEmbedding):
        super().__init__()
        self._items = (items,)  # in a tuple: its parameters are not registered a second time
        self.bias = nn.Parameter(torch.zeros(len(items.weight) - 1))

    def fit(self, events: np.ndarray) -> None:
        """Start from biases that predict the items by their numbers of training events (items,), and one more each.

        What they would have to learn first is the same for all histories.
        """
        fractions = torch.from_numpy((events + 1) / (events.sum() + len(events)))
        with torch.no_grad():
            self.bias.copy_((fractions * len(events)).log())

    def forward(self, states: Tensor) -> Tensor:
        """States (..., D) to logits (..., items)."""
        return linear(states, self._items[0].vectors(), self.bias)

    def of(self, states: Tensor, classes: Tensor) -> Tensor:
        """The logits (n, m) of states (n, D) for the classes (m,) int64 alone."""
        return linear(states, self._items[0](classes + 1), self.bias[classes])

    def paired(self, states: Tensor, classes: Tensor) -> Tensor:
        """The logit (n,) of each state (n, D) for the class (n,) int64 that belongs to it."""
        return (states * self._items[0](classes + 1)).sum(-1) + self.bias[classes]


class HistoryNetwork(SequenceNetwork):
    """A network of histories; `head` turns the state at a position into logits of the item that comes next."""

    embedding: ItemEmbedding
    head: ItemScores

    def fit_items(self, features: np.ndarray) -> None:
        """Take the features (items, F) float32 of the items; F may be 0."""
        if self.embedding.has_features:
            self.embedding.fit(features)

    def fit_popularity(self, events: np.ndarray) -> None:
        """Take the numbers of training events (items,) int64 of the items."""
        self.head.fit(events)
        self.embedding.leave_out(events == 0)

    def features(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """The states (N, D) at the last event of each history; see `SequenceNetwork.features`."""
        last = (mask.sum(1) - 1).clamp(min=0)
        states = self.positions(embedded, mask)
        return states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2])).squeeze(1)

    def positions(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """States (N, L, D) of vectors (N, L, D); one depends on the vectors up to its own alone."""
        raise NotImplementedError
