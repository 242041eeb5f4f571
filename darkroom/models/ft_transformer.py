"""FT-Transformer: a Transformer encoder over the columns of a table, each of which is a token.

Gorishniy et al., "Revisiting deep learning models for tabular data", NeurIPS 2021. Here numbers have piecewise linear
embeddings too.
"""

import torch
from torch import Tensor, nn

from darkroom.models.columns import ColumnEmbedding, RowNetwork
from darkroom.models.transformer import Block


class FtTransformer(RowNetwork):
    """Embeddings of `embed_dim` per column, `depth` encoder blocks, and the state of one more token."""

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        embed_dim: int = 64,
        depth: int = 2,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.1,
        bins: int = 32,
        hidden_values: float = 0.02,
    ):
        super().__init__()
        self.embedding = ColumnEmbedding(shape, bins, embed_dim, hidden_values)
        self.token = nn.Parameter(torch.empty(embed_dim).uniform_(-(embed_dim**-0.5), embed_dim**-0.5))
        self.encoder = nn.ModuleList(Block(embed_dim, heads, int(mlp_ratio * embed_dim), dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, classes)

    def features(self, embedded: Tensor) -> Tensor:
        """See `RowNetwork.features`."""
        states = torch.cat([self.token.expand(embedded.shape[0], 1, -1), embedded], 1)
        for block in self.encoder:
            states = block(states)
        return self.norm(states[:, 0]).relu()
