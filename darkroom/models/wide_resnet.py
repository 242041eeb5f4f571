"""The wide residual network, for a GPU: fewer and wider layers than a residual network of the same accuracy.

Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016: WRN-depth-width, with pre-activation blocks after He et
al., "Identity mappings in deep residual networks", ECCV 2016.

With depth 16 and widen factor 4: 2,748,602 parameters; 601 MFLOPs per image forward, 1,802 MFLOPs per image in a
training step. Two cores of an AMD EPYC (Zen 4) train on 210 images per second; it was not trained to the end there. The
recipe `accurate` uses depth 22 and widen factor 1: 271,994 parameters.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

STEM_CHANNELS = 16


class WideResnet(nn.Module):
    """Three stages of 16, 32 and 64 times `widen_factor` channels; the later two halve the size. `depth` = 6 n + 4."""

    def __init__(
        self, shape: tuple[int, ...], classes: int, depth: int = 16, widen_factor: int = 4, dropout: float = 0.0
    ):
        super().__init__()
        height, width, input_channels = shape
        if min(height, width) < 8:
            raise ValueError("it needs at least 8 x 8")
        blocks = (depth - 4) // 6
        sizes = [STEM_CHANNELS, 16 * widen_factor, 32 * widen_factor, 64 * widen_factor]
        self.stem = nn.Conv2d(input_channels, STEM_CHANNELS, 3, padding=1, bias=False)
        self.features = nn.Sequential(
            *(
                _Block(
                    sizes[stage] if block == 0 else sizes[stage + 1],
                    sizes[stage + 1],
                    2 if stage and block == 0 else 1,
                    dropout,
                )
                for stage in range(3)
                for block in range(blocks)
            ),
            nn.BatchNorm2d(sizes[-1]),
            nn.ReLU(),
        )
        self.head = nn.Linear(sizes[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) to logits (N, classes)."""
        return self.head(self.features(self.stem(images)).mean((2, 3)))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, images: Tensor) -> Tensor:
        active = relu(self.norm(images))
        return self.branch(active) + (images if self.shortcut is None else self.shortcut(active))
