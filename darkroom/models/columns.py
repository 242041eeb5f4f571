"""Inputs that are rows of a table: (N, C) float32, a number or the index of a category in each column.

A missing number is NaN; the first two indices of a category stand for a missing and an unknown one. What is computed
from the training rows is part of the network, so nothing is scaled on disk, and the exported graph takes raw rows.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

DTYPE = np.float32  # of packed rows; images are uint8
NUMBER = 0  # in a shape: a column of numbers; else how many kinds of categories the column can hold
MISSING, UNKNOWN = 0, 1  # indices of categories
_BLOCK = 16  # columns whose quantiles are computed at once


class ColumnEmbedding(nn.Module):
    """A vector for each column of a row: of its number, piecewise linear, or of its category.

    Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep learning", NeurIPS 2022: the
    bins of a number are between quantiles of the training rows. Numbers outside of them are treated as the nearest one.
    In training, a fraction `hidden` of the values is replaced by missing and unknown ones, so that these have a vector
    too where the training rows have none.
    """

    def __init__(self, shape: Sequence[int], bins: int, size: int, hidden: float):
        super().__init__()
        kinds = np.array(shape)
        numbers, categories = np.flatnonzero(kinds == NUMBER), np.flatnonzero(kinds != NUMBER)
        self.hidden, self.count = hidden, len(numbers)
        self.register_buffer("numbers", torch.from_numpy(numbers), persistent=False)
        self.register_buffer("categories", torch.from_numpy(categories), persistent=False)
        order = np.argsort(np.concatenate([numbers, categories]))
        self.register_buffer("order", torch.from_numpy(order), persistent=False)
        ends = np.cumsum(kinds[categories])
        starts = torch.from_numpy(ends - kinds[categories])
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("edges", torch.zeros(len(numbers), bins + 1))
        self.weight = nn.Parameter(torch.empty(len(numbers), bins + 1, size))  # the last is that of a missing number
        self.bias = nn.Parameter(torch.empty(len(numbers), size))
        self.vectors = nn.Parameter(torch.empty(int(ends[-1]) if len(ends) else 0, size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(size**-0.5), size**-0.5)

    def fit(self, rows: np.ndarray) -> None:
        """Compute the bins from the training rows (N, C) float32, which may be memory-mapped."""
        bins, columns = self.edges.shape[1] - 1, self.numbers.cpu().numpy()
        edges = np.zeros(self.edges.shape, DTYPE)
        for start in range(0, len(columns), _BLOCK):
            part = columns[start : start + _BLOCK]
            for row, values in enumerate(np.array(rows[:, part]).T, start):
                if len(held := values[~np.isnan(values)]):
                    found = np.unique(np.quantile(held, np.linspace(0, 1, bins + 1), method="nearest"))
                    edges[row] = np.pad(found, (0, bins + 1 - len(found)), mode="edge")
        self.edges.copy_(torch.from_numpy(edges))

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors (N, C, size) of rows (N, C)."""
        given, kinds = rows[:, self.numbers], rows[:, self.categories].long()
        if self.training and self.hidden:
            given = given.masked_fill(torch.rand_like(given) < self.hidden, torch.nan)
            drawn = torch.rand(kinds.shape, device=kinds.device)
            kinds = torch.where(drawn < self.hidden, (drawn < self.hidden / 2).long(), kinds)
        vectors = torch.einsum("ncb,cbd->ncd", self.encode(given), self.weight) + self.bias
        return torch.cat([vectors, self.vectors[kinds + self.starts]], 1)[:, self.order]

    def encode(self, numbers: Tensor) -> Tensor:
        """Of numbers (N, c), the part of each bin that lies below them, and whether they are missing: (N, c, bins + 1).

        All bins of a missing number are 0, and so are bins without width.
        """
        missing = numbers.isnan()
        lower, width = self.edges[:, :-1], self.edges.diff(dim=1)
        filled = torch.where(missing, self.edges[:, 0], numbers)
        parts = ((filled[..., None] - lower) / torch.where(width > 0, width, 1)).clamp(0, 1) * (width > 0)
        return torch.cat([parts, missing[..., None].to(parts)], 2)


class RowNetwork(nn.Module):
    """A network of rows: `embedding` turns columns into vectors, `features` these into what `head` classifies."""

    embedding: ColumnEmbedding
    head: nn.Module

    def fit_inputs(self, rows: np.ndarray) -> None:
        """Compute from the training rows (N, C) what is not learned."""
        self.embedding.fit(rows)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (N, C) float32 to logits (N, classes)."""
        return self.head(self.features(self.embedding(rows)))

    def features(self, embedded: Tensor) -> Tensor:
        """Features of vectors (N, C, D)."""
        raise NotImplementedError


def are(inputs: np.ndarray | Tensor) -> bool:
    """Whether packed or loaded inputs are rows of a table."""
    return inputs.dtype in (np.dtype(DTYPE), torch.float32) and inputs.ndim == 2


def batches(count: int, size: int) -> Iterator[slice]:
    """The parts of `count` rows, at most `size` at a time."""
    return (slice(start, start + size) for start in range(0, count, size))
