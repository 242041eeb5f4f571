"""Packed arrays, for tests."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.inputs.config import ImageConfig
from darkroom.preprocess import packing
from darkroom.preprocess.samples import Samples

DESCRIBED = {
    "dataset": "toy",
    "title": "Toy",
    "licence": "CC0",
    "classes": ("a", "b"),
    "augmentation": Augmentation(flip=True, shift=2),
}
PREPROCESSING = ImageConfig(
    resize="stretch", interpolation="bilinear", crop_fraction=1.0, denoise="none", max_pixels=10**6
)
# What else a manifest says that is made without these arrays
AS_IS = {
    "test_sha256": "0" * 64,
    "test_examples_sha256": "0" * 64,
    "resize": "stretch",
    "interpolation": "bilinear",
    "crop_fraction": 1.0,
}


def make_splits(seed: int = 0, shape: tuple[int, ...] = (4, 5, 3)) -> dict[str, Split]:
    """Splits of random inputs of `shape` with alternating labels, in memory."""
    rng = np.random.default_rng(seed)
    return {
        name: Split(
            rng.integers(0, 256, (count, *shape), dtype=np.uint8),
            np.arange(count, dtype=np.int64) % 2,
            np.array([f"{name}/{index:05}" for index in range(count)]),
        )
        for name, count in (("train", 6), ("val", 2), ("test", 3))
    }


def write(
    folder: str | Path,
    splits: Mapping[str, Split],
    known: Mapping[str, Any],
    size: tuple[int, int] | None = None,
    preprocessing: ImageConfig = PREPROCESSING,
) -> Manifest:
    """Write the splits as the preprocess stage does, with one removed example between the training and validation set.

    `known` has the keys of DESCRIBED. `size` is that of a network's inputs if they are the centres of the images.
    """
    shape = splits["train"].inputs.shape[1:]
    removed = Split(np.full((1, *shape), 7, np.uint8), np.zeros(1, np.int64), np.array(["removed"]))
    parts = {"train": splits["train"], "": removed, "val": splits["val"], "test": splits["test"]}
    labels, ids = (np.concatenate([getattr(part, field) for part in parts.values()]) for field in ("labels", "ids"))
    names = np.repeat(list(parts), [len(part) for part in parts.values()])
    samples = Samples(ids, labels, names, np.full(len(ids), ""))
    described = {key: known[key] for key in ("title", "licence", "augmentation")}
    dataset = SimpleNamespace(name=known["dataset"], **described)
    with packing.Pack(Path(folder).parent, shape) as pack:
        for _ in pack.keep(part.inputs for part in parts.values()):
            pass
        seen = (*size, *shape[2:]) if size else shape
        return packing.write(folder, pack, samples, dataset, known["classes"], seen, preprocessing)
