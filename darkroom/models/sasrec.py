"""SASRec: a Transformer over the events of a history, in which each attends to those before it.

Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018. As there, the output shares the vectors of the
items with the input. Unlike there, the blocks are those of `transformer`, with norms first and GELU, items have a bias,
and the loss is the cross-entropy over all items: Petrov and Macdonald, "gSASRec", RecSys 2023, show how much the
original loss, with one sampled negative item, loses.
"""

import torch
from torch import Tensor, nn

from darkroom.models.histories import HistoryNetwork, ItemEmbedding, ItemScores
from darkroom.models.transformer import Block


class Sasrec(HistoryNetwork):
    """Items of `embed_dim` with learned positions, and `depth` Transformer blocks."""

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        embed_dim: int = 64,
        depth: int = 2,
        heads: int = 1,
        mlp_ratio: float = 1.0,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.embedding = ItemEmbedding(shape, embed_dim)
        self.position_vectors = nn.Parameter(torch.empty(shape[0], embed_dim))
        nn.init.trunc_normal_(self.position_vectors, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.ModuleList(Block(embed_dim, heads, int(mlp_ratio * embed_dim), dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.head = ItemScores(self.embedding)

    def positions(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """See `HistoryNetwork.positions`."""
        length = embedded.shape[1]
        states = self.dropout(embedded + self.position_vectors[:length])
        place = torch.arange(length, device=embedded.device)
        earlier = place[:, None] >= place  # padding comes last, so no event attends to it
        for block in self.encoder:
            states = block(states, earlier)
        return self.norm(states)
