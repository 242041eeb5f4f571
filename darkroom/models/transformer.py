"""A small Transformer encoder over tokens, without pretraining.

Vaswani et al., "Attention is all you need", NeurIPS 2017; the norms come first (Xiong et al., "On layer normalization
in the Transformer architecture", ICML 2020). The encoder is pooled by attention over the tokens.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from darkroom.models.sequences import PADDING, SequenceNetwork


class Transformer(SequenceNetwork):
    """Embeddings of `embed_dim` with learned positions, and `depth` encoder blocks."""

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        embed_dim: int = 256,
        depth: int = 2,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.2,
    ):
        super().__init__()
        length, vocabulary = shape
        self.embedding = nn.Embedding(vocabulary, embed_dim, padding_idx=PADDING)
        self.positions = nn.Parameter(torch.empty(length, embed_dim))
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.ModuleList(Block(embed_dim, heads, int(mlp_ratio * embed_dim), dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.importance = nn.Linear(embed_dim, 1, bias=False)
        self.head = nn.Linear(embed_dim, classes)
        for weight in (self.embedding.weight, self.positions):
            nn.init.trunc_normal_(weight, std=0.02)

    def features(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """See `SequenceNetwork.features`."""
        states = self.dropout(embedded + self.positions[: embedded.shape[1]])
        for block in self.encoder:
            states = block(states, mask[:, None, None])
        states = self.norm(states)
        weights = self.importance(states).masked_fill(~mask[..., None], -1e4).softmax(1)
        return self.dropout((weights * states).sum(1))


class Block(nn.Module):
    """A block over states (N, L, E). `mask`, broadcast to (N, heads, L, L), says which each attends to; None: all."""

    def __init__(self, embed_dim: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.norm_attention, self.norm_mlp = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        self.inputs, self.output = nn.Linear(embed_dim, 3 * embed_dim), nn.Linear(embed_dim, embed_dim)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, embed_dim)
        )

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        queries, keys, values = (
            self.inputs(self.norm_attention(states)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        mixed = scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        states = states + self.dropout(self.output(mixed.transpose(1, 2).flatten(2)))
        return states + self.dropout(self.mlp(self.norm_mlp(states)))
