"""Write the folder data/arrays: what is the same for every kind of example; `darkroom/core/arrays.py` reads it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkroom.core import arrays
from darkroom.core.arrays import SPLITS, Manifest
from darkroom.core.outputs import new_folder, write_csv, write_json
from darkroom.datasets.descriptions import Dataset
from darkroom.preprocess.samples import Samples


@dataclass(frozen=True)
class Packed:
    """What was written of the inputs of all splits."""

    digests: Mapping[str, Any]  # a running SHA-256 of the inputs, by split
    fields: Mapping[str, Any]  # of the manifest
    examples: Mapping[str, bytes] = field(default_factory=dict)  # by split: what names the examples besides their ids


def write(
    folder: str | Path,
    samples: Samples,
    dataset: Dataset,
    classes: Sequence[str],
    pack_inputs: Callable[[Path, Mapping[str, int]], Packed],
) -> Manifest:
    """Write the splits of `samples` and their manifest atomically to `folder`; return the manifest.

    Examples whose split is "" are skipped. `classes` are the remaining classes of `dataset`. `pack_inputs` writes
    <split>.inputs.npy of every split to a folder, given the number of examples of each.
    """
    indices = {name: samples.indices(name) for name in SPLITS}
    counts = {name: len(indices[name]) for name in SPLITS}
    with new_folder(folder) as temporary:
        packed = pack_inputs(temporary, counts)
        digests, examples, test = packed.digests, {}, packed.digests["test"].copy()
        for name in SPLITS:
            _write_columns(temporary / f"{name}.columns.csv", samples, indices[name], digests[name])
            labels = samples.labels[indices[name]]
            np.save(temporary / f"{name}.labels.npy", labels, allow_pickle=False)
            write_json(temporary / f"{name}.ids.json", samples.ids[indices[name]].tolist())
            ids = (temporary / f"{name}.ids.json").read_bytes()
            examples[name] = labels.tobytes() + ids + packed.examples.get(name, b"")
            digests[name].update(examples[name])
        test.update(examples["test"])
        written = Manifest(
            dataset=dataset.name,
            title=dataset.title,
            licence=dataset.licence,
            classes=tuple(classes),
            augmentation=dataset.augmentation,
            counts=counts,
            sha256=hashlib.sha256(b"".join(digests[name].digest() for name in SPLITS)).hexdigest(),
            test_sha256=test.hexdigest(),
            test_examples_sha256=hashlib.sha256(examples["test"]).hexdigest(),
            **packed.fields,
        )
        write_json(temporary / "manifest.json", arrays.fields(written))
    return written


def _write_columns(path: Path, samples: Samples, indices: np.ndarray, digest: Any) -> None:
    """Write the group and the manifest's other columns of the examples at `indices`, if the dataset has any."""
    columns = {"group": samples.groups} if (samples.groups != "").any() else {}
    columns |= samples.columns
    if columns:
        write_csv(path, pd.DataFrame({name: column[indices] for name, column in columns.items()}))
        digest.update(path.read_bytes())
