"""The classic convolutional network: two convolutions with ReLU and max pooling, then two dense layers.

LeCun et al., "Gradient-based learning applied to document recognition", 1998, with ReLU, max pooling and dropout.

Fashion-MNIST, default recipe, 10 epochs, two cores of an AMD EPYC (Zen 4): 92.45 % test accuracy in 58 s (one seed).
225,034 parameters; 5.3 MFLOPs per image forward, 15.4 MFLOPs per image in a training step.
"""

from torch import Tensor, nn

from darkroom.models.layers import MaxPool


class Cnn(nn.Module):
    """Two 3 x 3 convolutions without padding, of `channels` and twice `channels` channels, and one hidden layer."""

    def __init__(
        self, shape: tuple[int, ...], classes: int, channels: int = 32, hidden_units: int = 128, dropout: float = 0.0
    ):
        super().__init__()
        height, width, input_channels = shape
        rows, columns = (((size - 2) // 2 - 2) // 2 for size in (height, width))
        if min(rows, columns) < 1:
            raise ValueError("it needs at least 10 x 10")
        self.features = nn.Sequential(
            nn.Conv2d(input_channels, channels, 3),
            MaxPool(),  # before ReLU, which then works on a quarter of the pixels and gives the same values
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3),
            MaxPool(),
            nn.ReLU(),
        )
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(2 * channels * rows * columns, hidden_units), nn.ReLU(), nn.Dropout(dropout)
        )
        self.head = nn.Linear(hidden_units, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) to logits (N, classes)."""
        return self.head(self.hidden(self.features(images)))
