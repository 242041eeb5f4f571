"""Packed arrays, for tests."""

from pathlib import Path

import numpy as np

from darkroom.core.arrays import Manifest, Split
from darkroom.preprocess import packing
from darkroom.preprocess.samples import Samples


def write(folder: str | Path, splits: dict[str, Split], known: dict[str, object]) -> Manifest:
    """Writes the splits as the preprocess stage does: their pictures in turn, and between them one that is left out."""
    shape = splits["train"].inputs.shape[1:]
    surplus = Split(np.full((1, *shape), 7, np.uint8), np.zeros(1, np.int64), np.array(["left out"]))
    parts = {"train": splits["train"], "": surplus, "val": splits["val"], "test": splits["test"]}
    labels, ids = (np.concatenate([getattr(part, field) for part in parts.values()]) for field in ("labels", "ids"))
    samples = Samples(
        ids, labels, np.repeat(list(parts), [len(part) for part in parts.values()]), np.full(len(ids), "")
    )
    with packing.Pack(Path(folder).parent, shape) as pack:
        for _ in pack.keep(part.inputs for part in parts.values()):
            pass
        return packing.write(folder, pack, samples, known)
