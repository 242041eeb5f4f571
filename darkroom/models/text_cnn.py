"""A convolutional network over tokens: filters of several widths, and the strongest response of each.

Kim, "Convolutional neural networks for sentence classification", EMNLP 2014. Here the mean of the embeddings is a
feature too (Joulin et al., "Bag of tricks for efficient text classification", EACL 2017).
"""

import torch
from torch import Tensor, nn

from darkroom.models.sequences import PADDING, SequenceNetwork


class TextCnn(SequenceNetwork):
    """Embeddings of `embed_dim`, `channels` filters of each width, max pooling over the tokens."""

    WIDTHS = (2, 3, 5)

    def __init__(
        self, shape: tuple[int, ...], classes: int, embed_dim: int = 256, channels: int = 256, dropout: float = 0.5
    ):
        super().__init__()
        _, vocabulary = shape
        self.embedding = nn.Embedding(vocabulary, embed_dim, padding_idx=PADDING)
        nn.init.normal_(self.embedding.weight, std=embed_dim**-0.5)
        with torch.no_grad():
            self.embedding.weight[PADDING] = 0
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embed_dim, channels, width, padding=width // 2) for width in self.WIDTHS
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(embed_dim + channels * len(self.WIDTHS), classes)

    def features(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """See `SequenceNetwork.features`."""
        mean = embedded.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        channels = self.dropout(embedded).mT
        found = [torch.relu(layer(channels)[..., : mask.shape[1]]) for layer in self.convolutions]
        pooled = [(one * mask[:, None]).amax(2) for one in found]  # a ReLU gives at least 0
        return self.dropout(torch.cat([mean, *pooled], 1))
