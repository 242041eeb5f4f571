"""A toy dataset of two classes that a small network learns in seconds."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml

from darkroom.core.arrays import Augmentation, Split
from tests import packs
from tests.repository import ROOT

DESCRIBED = {
    "dataset": "toy",
    "title": "Toy",
    "licence": "CC0",
    "classes": ("left", "right"),
    "augmentation": Augmentation(flip=False, shift=0),
}


def split(n: int, name: str) -> Split:
    """Noise of 10 x 10 with a bright patch whose side, left or right, is the class."""
    random = np.random.default_rng(n)
    labels = np.arange(n) % 2
    images = random.integers(100, size=(n, 10, 10, 1), dtype=np.uint8)
    images[labels == 0, 3:7, 1:4] += 150
    images[labels == 1, 3:7, 6:9] += 150
    return Split(images, labels, np.array([f"{name}/{index:03}" for index in range(n)]))


def write(splits: Mapping[str, Split]) -> None:
    """Write data/arrays, and a params.yaml with which a training takes a second, to the current folder."""
    packs.write("data/arrays", splits, DESCRIBED)
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["model"]["name"] = "cnn"
    values["train"] |= {"epochs": 4.0, "batch_size": 24, "min_steps": 0, "lr": 0.02, "precision": "fp32"}
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
