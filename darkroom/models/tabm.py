"""TabM: many multilayer perceptrons that share most of their weights, as one network over the columns of a table.

Gorishniy, Kotelnikov and Babenko, "TabM: advancing tabular deep learning with parameter-efficient ensembling", ICLR
2025; the members share weights as in Wen, Tran and Ba, "BatchEnsemble", ICLR 2020.
"""

import math

import torch
from torch import Tensor, nn

from darkroom.models.columns import ColumnEmbedding, RowNetwork


class TabM(RowNetwork):
    """`members` perceptrons of `depth` hidden layers with `hidden_size` units over shared embeddings.

    In training the logits are those of each member, (N, members, classes), because each learns for itself. Else they
    are (N, classes): the logarithm of the members' mean probability.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        bins: int = 32,
        embed_dim: int = 16,
        hidden_size: int = 256,
        depth: int = 2,
        dropout: float = 0.1,
        hidden_values: float = 0.02,
        members: int = 32,
    ):
        super().__init__()
        self.embedding = ColumnEmbedding(shape, bins, embed_dim, hidden_values)
        sizes = [embed_dim * len(shape), *[hidden_size] * depth]
        self.layers = nn.ModuleList(
            _Shared(size, hidden_size, members, is_first=number == 0) for number, size in enumerate(sizes[:-1])
        )
        self.dropout = nn.Dropout(dropout)
        self.head = _Heads(hidden_size, classes, members)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (N, C) float32 to logits."""
        logits = super().forward(rows)
        return logits if self.training else logits.log_softmax(2).logsumexp(1) - math.log(logits.shape[1])

    def features(self, embedded: Tensor) -> Tensor:
        """Features (N, members, D) of vectors (N, C, E)."""
        states = embedded.flatten(1)[:, None]
        for layer in self.layers:
            states = self.dropout(layer(states).relu())
        return states


class _Shared(nn.Module):
    """A linear layer (N, members, D) to (N, members, H) with one weight, and scales of each member around it."""

    def __init__(self, size: int, hidden_size: int, members: int, is_first: bool):
        super().__init__()
        self.linear = nn.Linear(size, hidden_size, bias=False)
        # Random signs make the members differ from the start.
        signs = 2.0 * torch.randint(2, (members, size)) - 1 if is_first else torch.ones(members, size)
        self.scale_in, self.scale_out = nn.Parameter(signs), nn.Parameter(torch.ones(members, hidden_size))
        self.bias = nn.Parameter(torch.empty(members, hidden_size).uniform_(-(size**-0.5), size**-0.5))

    def forward(self, states: Tensor) -> Tensor:
        return self.linear(states * self.scale_in) * self.scale_out + self.bias


class _Heads(nn.Module):
    """A linear layer of each member: (N, members, D) to (N, members, classes)."""

    def __init__(self, size: int, classes: int, members: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, size, classes).uniform_(-(size**-0.5), size**-0.5))
        self.bias = nn.Parameter(torch.empty(members, classes).uniform_(-(size**-0.5), size**-0.5))

    def forward(self, states: Tensor) -> Tensor:
        return torch.einsum("nmd,mdk->nmk", states, self.weight) + self.bias
