"""A bidirectional LSTM over the rows of an image, or over the tokens of a text.

Hochreiter and Schmidhuber, "Long short-term memory", 1997; Graves and Schmidhuber, "Framewise phoneme classification
with bidirectional LSTM", 2005.

Fashion-MNIST, default recipe, 9 epochs, two cores of an AMD EPYC (Zen 4): 92.39 % test accuracy in 324 s (one seed).
817,674 parameters; 45 MFLOPs per image forward, 134 MFLOPs per image in a training step.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from darkroom.models.sequences import PADDING, SequenceNetwork


def build(
    shape: tuple[int, ...], classes: int, hidden_size: int = 128, layers: int = 2, dropout: float = 0.0
) -> nn.Module:
    """The network for images of `shape` (height, width, channels), or for sequences (length, kinds of indices)."""
    return (SequenceLstm if len(shape) == 2 else Lstm)(shape, classes, hidden_size, layers, dropout)


class Lstm(nn.Module):
    """A convolution over rows, `layers` LSTM layers of `hidden_size` units per direction, mean and max pooling."""

    def __init__(
        self, shape: tuple[int, ...], classes: int, hidden_size: int = 128, layers: int = 2, dropout: float = 0.0
    ):
        super().__init__()
        height, width, input_channels = shape
        if min(height, width) < 2:
            raise ValueError("it needs at least 2 x 2")
        self.embedding = nn.Sequential(
            nn.Conv1d(width * input_channels, 2 * hidden_size, 3, padding=1, bias=False),
            nn.BatchNorm1d(2 * hidden_size),
            nn.ReLU(),
        )
        self.lstm = _ExportableLstm(2 * hidden_size, hidden_size, layers, dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * hidden_size, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) to logits (N, classes)."""
        rows = images.permute(0, 2, 3, 1).flatten(2)
        states = self.lstm(self.embedding(rows.mT).mT)
        return self.head(self.dropout(torch.cat([states.mean(1), states.amax(1)], 1)))


class SequenceLstm(SequenceNetwork):
    """Embeddings, `layers` LSTM layers of `hidden_size` units per direction, mean and max pooling over the sequence."""

    def __init__(
        self, shape: tuple[int, ...], classes: int, hidden_size: int = 128, layers: int = 2, dropout: float = 0.0
    ):
        super().__init__()
        self.embedding = nn.Embedding(shape[1], 2 * hidden_size, padding_idx=PADDING)
        self.lstm = _ExportableLstm(2 * hidden_size, hidden_size, layers, dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * hidden_size, classes)

    def features(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """See `SequenceNetwork.features`."""
        held = mask.sum(1).clamp(min=1)
        states = self.lstm(self.dropout(embedded), held) * mask[..., None]
        highest = states.masked_fill(~mask[..., None], -1).amax(1)  # a state is above -1
        return self.dropout(torch.cat([states.sum(1) / held[:, None], highest], 1))


class _ExportableLstm(nn.LSTM):
    """An nn.LSTM that returns only its output and is exported as ONNX's LSTM operator.

    PyTorch's exporter would unroll a loop instead, with node names that differ every time.
    """

    def __init__(self, size: int, hidden_size: int, layers: int, dropout: float):
        super().__init__(size, hidden_size, layers, batch_first=True, bidirectional=True, dropout=dropout)

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor]) -> None:
        """Keep no second list of the weights: the export rejects it."""

    def forward(self, rows: Tensor, lengths: Tensor | None = None) -> Tensor:
        """States (N, L, 2 H) of rows (N, L, D); behind the lengths (N,), if given, they are 0."""
        # Packed sequences cannot be traced, so sequences with lengths are always traced as the operator.
        if not torch.onnx.is_in_onnx_export() and (lengths is None or not torch.compiler.is_exporting()):
            if lengths is None or rows.is_meta:
                return super().forward(rows)[0]
            packed = pack_padded_sequence(rows, lengths.cpu(), batch_first=True, enforce_sorted=False)
            return pad_packed_sequence(super().forward(packed)[0], batch_first=True, total_length=rows.shape[1])[0]
        states = rows.transpose(0, 1)  # ONNX expects the sequence dimension first
        for layer in range(self.num_layers):
            inputs, hidden, inner, outer = (
                torch.stack([_onnx_order(getattr(self, f"{kind}_l{layer}{suffix}")) for suffix in ("", "_reverse")])
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            outputs = torch.onnx.ops.symbolic(
                "LSTM",
                [states, inputs, hidden, torch.cat([inner, outer], 1), *([] if lengths is None else [lengths.int()])],
                {"hidden_size": self.hidden_size, "direction": "bidirectional"},
                dtype=states.dtype,
                shape=[states.shape[0], 2, states.shape[1], self.hidden_size],
            )
            states = outputs.transpose(1, 2).flatten(2)
        return states.transpose(0, 1)


def _onnx_order(weight: Tensor) -> Tensor:
    """Reorder the gates from PyTorch's input, forget, cell, output to ONNX's input, output, forget, cell."""
    return weight.unflatten(0, (4, -1))[[0, 3, 1, 2]].flatten(0, 1)
