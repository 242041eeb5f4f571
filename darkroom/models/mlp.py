"""A multilayer perceptron over the columns of a table, with piecewise linear embeddings of numbers.

Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep learning", NeurIPS 2022.
"""

from torch import Tensor, nn

from darkroom.models.columns import ColumnEmbedding, RowNetwork


class Mlp(RowNetwork):
    """`depth` hidden layers of `hidden_size` units over embeddings of `embed_dim` per column."""

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
    ):
        super().__init__()
        self.embedding = ColumnEmbedding(shape, bins, embed_dim, hidden_values)
        sizes = [embed_dim * len(shape), *[hidden_size] * depth]
        self.layers = nn.Sequential(
            *(nn.Sequential(nn.Linear(size, hidden_size), nn.ReLU(), nn.Dropout(dropout)) for size in sizes[:-1])
        )
        self.head = nn.Linear(hidden_size, classes)

    def features(self, embedded: Tensor) -> Tensor:
        """See `RowNetwork.features`."""
        return self.layers(embedded.relu().flatten(1))
