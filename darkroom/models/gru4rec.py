"""GRU4Rec: gated recurrent units over the events of a history.

Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016. The output shares the vectors
of the items with the input, and the loss is the cross-entropy over items: Hidasi and Karatzoglou, "Recurrent neural
networks with top-k gains for session-based recommendations", CIKM 2018.
"""

import torch
from torch import Tensor, nn

from darkroom.models.histories import HistoryNetwork, ItemEmbedding, ItemScores


class Gru4rec(HistoryNetwork):
    """Items of `embed_dim`, and `layers` recurrent layers of `hidden_size` units."""

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        embed_dim: int = 64,
        hidden_size: int = 128,
        layers: int = 1,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.embedding = ItemEmbedding(shape, embed_dim)
        self.gru = _ExportableGru(embed_dim, hidden_size, layers, dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        self.head = ItemScores(self.embedding)

    def positions(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """See `HistoryNetwork.positions`."""
        return self.norm(self.output(self.dropout(self.gru(self.dropout(embedded)))))


class _ExportableGru(nn.GRU):
    """An nn.GRU that returns only its output and is exported as ONNX's GRU operator; see `lstm`."""

    def __init__(self, size: int, hidden_size: int, layers: int, dropout: float):
        super().__init__(size, hidden_size, layers, batch_first=True, dropout=dropout)

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor]) -> None:
        """Keep no second list of the weights: the export rejects it."""

    def forward(self, rows: Tensor) -> Tensor:
        """States (N, L, H) of rows (N, L, D)."""
        if not torch.onnx.is_in_onnx_export() and not torch.compiler.is_exporting():
            return super().forward(rows)[0]
        states = rows.transpose(0, 1)  # ONNX expects the sequence dimension first
        for layer in range(self.num_layers):
            inputs, hidden, inner, outer = (
                _onnx_order(getattr(self, f"{kind}_l{layer}"))[None]
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            outputs = torch.onnx.ops.symbolic(
                "GRU",
                [states, inputs, hidden, torch.cat([inner, outer], 1)],
                {"hidden_size": self.hidden_size, "linear_before_reset": 1},
                dtype=states.dtype,
                shape=[states.shape[0], 1, states.shape[1], self.hidden_size],
            )
            states = outputs.squeeze(1)
        return states.transpose(0, 1)


def _onnx_order(weight: Tensor) -> Tensor:
    """Reorder the gates from PyTorch's reset, update, new to ONNX's update, reset, hidden."""
    return weight.unflatten(0, (3, -1))[[1, 0, 2]].flatten(0, 1)
