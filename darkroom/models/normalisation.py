"""What a network gets for packed inputs: images are normalised, sequences are trimmed, rows stay."""

from collections.abc import Sequence

import torch
from torch import Tensor

from darkroom.models import columns, hardware, sequences


def normalise(inputs: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Inputs (N, ..., C) uint8 to (N, C, ...) float32 with mean 0 and standard deviation 1 per channel.

    `mean` and `std` are on the scale 0..1. A constant channel is only centred. The memory layout stays that of the
    inputs, which for images is PyTorch's channels_last: convolutions on a CPU are fastest in it. Sequences (N, L) int32
    become (N, l) int64, without padding that all have. Rows of a table (N, C) float32 stay as they are.
    """
    if sequences.are(inputs):
        return sequences.trimmed(inputs)
    if columns.are(inputs):
        return inputs
    scale = torch.tensor([1 / (255 * (s or 1)) for s in std], dtype=torch.float32)
    offset = torch.tensor([-m / (s or 1) for m, s in zip(mean, std, strict=True)], dtype=torch.float32)
    scale, offset = (hardware.send(values, inputs.device) for values in (scale, offset))
    return torch.addcmul(offset, inputs.float(), scale).movedim(-1, 1)
