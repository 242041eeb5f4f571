"""The classic convolutional network: two convolutions, each with ReLU and max pooling, and two dense layers.

LeCun et al., "Gradient-based learning applied to document recognition", 1998, with today's parts.

Fashion-MNIST by the default recipe, but 10 epochs: 92.45 % (one seed) after 58 s on two cores of an EPYC (Zen 4). 225,034 parameters;
5.3 million operations a picture forward, 15.4 million in a training step.
"""

from torch import Tensor, nn


class Cnn(nn.Module):
    """Two 3 x 3 convolutions without padding, of `channels` and twice `channels` channels, and a hidden layer."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        channels: int = 32,
        hidden_units: int = 128,
        dropout: float = 0.0,
    ):
        super().__init__()
        height, width, input_channels = shape
        rows, columns = (((size - 2) // 2 - 2) // 2 for size in (height, width))
        if min(rows, columns) < 1:
            raise ValueError("it needs at least 10 x 10")
        self.features = nn.Sequential(
            nn.Conv2d(input_channels, channels, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(2 * channels * rows * columns, hidden_units), nn.ReLU(), nn.Dropout(dropout)
        )
        self.head = nn.Linear(hidden_units, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised pictures (N, C, H, W)."""
        return self.head(self.hidden(self.features(images)))
