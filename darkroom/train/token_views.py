"""Random views of texts: tokens are left out and replaced, on the device.

Random deletion: Wei and Zou, "EDA: easy data augmentation techniques for boosting performance on text classification
tasks", EMNLP-IJCNLP 2019. Replacement by tokens that are as frequent as in the texts: Xie et al., "Data noising as
smoothing in neural network language models", ICLR 2017.
"""

import numpy as np
import torch
from torch import Tensor

from darkroom.core.randomness import derive_seed, numpy_generator
from darkroom.models import sequences
from darkroom.models.sequences import PADDING

SAMPLE = 10_000  # texts whose tokens replace others


class TokenViews:
    """Views of the texts `inputs` (N, L) int32 in which tokens are `deleted` and `replaced` with these probabilities.

    The first and the last token stay if all texts have the same ones there, such as [CLS] and [SEP].
    """

    crops = False  # see Augmenter

    def __init__(
        self,
        inputs: np.ndarray,
        deleted: float,
        replaced: float,
        seed: int,
        device: torch.device,
        stream: str,  # of random numbers: a name for each view
    ):
        self.deleted, self.replaced, self.seed, self.stream = deleted, replaced, seed, stream
        ends = np.maximum(1, sequences.lengths(inputs)) - 1
        self.fixed = tuple(len(np.unique(found)) == 1 for found in (inputs[:, 0], inputs[np.arange(len(ends)), ends]))
        chosen = numpy_generator(seed, "token views").permutation(len(inputs))[:SAMPLE]
        rows = torch.from_numpy(inputs[np.sort(chosen)])
        self.tokens = rows[self._free(rows)].to(device)  # (T,) int32: as often as in the texts

    def __call__(self, inputs: Tensor, indices: Tensor, members: Tensor, epoch: int, step: int) -> Tensor:
        """Views (M, l) int64 of texts (M, L) int32; arguments as of `Augmenter`. No text loses all of its tokens."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.stream, step))
        shape = len(indices), inputs.shape[1]
        drawn = [torch.rand(shape, generator=generator) for _ in range(3)]
        leaving, replacing, which = (one[members].to(inputs.device) for one in drawn)
        free = self._free(inputs)
        if len(self.tokens):
            others = self.tokens[(which * len(self.tokens)).long().clamp(max=len(self.tokens) - 1)]
            inputs = torch.where(free & (replacing < self.replaced), others, inputs)
        left_out = free & (leaving < self.deleted)
        held = inputs != PADDING
        left_out &= (held & ~left_out).any(1, keepdim=True)
        kept = held & ~left_out
        order = (~kept).to(torch.int8).argsort(dim=1, stable=True)
        return sequences.trimmed(torch.where(kept, inputs, PADDING).gather(1, order))

    def _free(self, inputs: Tensor) -> Tensor:
        """Which tokens of texts (N, L) may change: (N, L) bool."""
        free = inputs != PADDING
        first, last = self.fixed
        ends = free.sum(1, keepdim=True) - 1
        if last:
            free &= torch.arange(inputs.shape[1], device=inputs.device) != ends
        if first:
            free[:, 0] = False
        return free
