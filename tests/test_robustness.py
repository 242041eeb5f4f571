import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from darkroom import robustness
from darkroom.arrays import Augmentation, Manifest, Split
from darkroom.corruptions import CORRUPTIONS, corrupt


class Brightness(nn.Module):
    """Takes a picture whose mean is above that of all for one of class 1."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        means = images.mean((1, 2, 3)) * self.weight
        return torch.stack([-means, means], 1)


def test_each_corruption_and_severity_is_measured():
    labels = np.arange(20) % 2
    images = np.random.default_rng(0).integers(60, size=(20, 9, 9, 1), dtype=np.uint8) + (100 * labels[:, None, None, None]).astype(np.uint8)
    split = Split(images, labels, np.arange(20).astype(str))
    mean = (float(images.mean()) / 255,)
    manifest = Manifest("toy", "Toys", "CC0", ("dark", "bright"), (9, 9, 1), mean, (0.2,), {"test": 20}, Augmentation(False, 0), "")
    table = robustness.measure(Brightness(), split, manifest, [1, 5], 3, torch.float32)
    assert table["corruption"].tolist() == [name for name in CORRUPTIONS for _ in range(2)]
    assert table["severity"].tolist() == [1, 5] * len(CORRUPTIONS)
    for row in table.itertuples():
        bright = corrupt(images, row.corruption, row.severity, 3).mean((1, 2, 3)) > images.mean()
        assert row.accuracy == pytest.approx((bright == labels).mean())
    assert table["accuracy"].min() < 1 == table["accuracy"].max()


def test_the_summary_by_hand():
    table = pd.DataFrame({"corruption": ["jpeg", "jpeg", "blur"], "severity": [1, 2, 1], "accuracy": [0.5, 0.75, 1.0]})
    assert robustness.summary(table) == {"mean_accuracy": 0.75, "accuracy": {"jpeg": 0.625, "blur": 1.0}}
