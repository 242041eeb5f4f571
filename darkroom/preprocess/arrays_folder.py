"""Write the folder data/arrays: what is the same for every kind of example; `darkroom/core/arrays.py` reads it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkroom.core import arrays
from darkroom.core.arrays import SPLITS, UNLABELLED, Manifest
from darkroom.core.outputs import new_folder, write_array, write_csv, write_json
from darkroom.datasets.descriptions import Dataset
from darkroom.preprocess.samples import Samples

_BLOCK = 16_384  # examples at a time


@dataclass(frozen=True)
class Packed:
    """What was written of the inputs of all splits."""

    digests: Mapping[str, Any]  # a running SHA-256 of the inputs, by split; of what else was written, by its name
    fields: Mapping[str, Any]  # of the manifest
    examples: Mapping[str, bytes] = field(default_factory=dict)  # by split: what names the examples besides their ids


def write(
    folder: str | Path,
    samples: Samples,
    dataset: Dataset,
    classes: Sequence[str],
    pack_inputs: Callable[[Path, Mapping[str, np.ndarray]], Packed],
) -> Manifest:
    """Write the splits of `samples` and their manifest atomically to `folder`; return the manifest.

    Examples whose split is "" are skipped. `classes` are the remaining classes of `dataset`. `pack_inputs` writes
    <split>.inputs.npy of every split to a folder, given the indices (n,) of the examples of each, in their order.
    """
    indices = _ordered(samples)
    with new_folder(folder) as temporary:
        packed = pack_inputs(temporary, indices)
        digests, examples, test = packed.digests, {}, packed.digests["test"].copy()
        for name, chosen in indices.items():
            _write_columns(temporary / f"{name}.columns.csv", samples, chosen, digests[name])
            labels = b""
            if name != UNLABELLED:
                write_array(temporary / f"{name}.labels.npy", len(chosen), [samples.labels[chosen]])
                labels = samples.labels[chosen].tobytes()
            write_json(temporary / f"{name}.ids.json", samples.ids[chosen].tolist())
            ids = (temporary / f"{name}.ids.json").read_bytes()
            examples[name] = labels + ids + packed.examples.get(name, b"")
            digests[name].update(examples[name])
        test.update(examples["test"])
        more = sorted(digests.keys() - indices.keys())  # of examples that are in no split
        written = Manifest(
            dataset=dataset.name,
            title=dataset.title,
            licence=dataset.licence,
            classes=tuple(classes),
            augmentation=dataset.augmentation,
            counts={name: len(chosen) for name, chosen in indices.items()},
            sha256=hashlib.sha256(b"".join(digests[name].digest() for name in [*indices, *more])).hexdigest(),
            test_sha256=test.hexdigest(),
            test_examples_sha256=hashlib.sha256(examples["test"]).hexdigest(),
            **packed.fields,
            **samples.cold_start,
        )
        write_json(temporary / "manifest.json", arrays.fields(written))
    return written


def digested(chosen: np.ndarray, inputs: Callable[[np.ndarray], np.ndarray], digest: Any) -> Iterator[np.ndarray]:
    """Blocks of the inputs of the examples at `chosen` (n,), at least one; the running `digest` gets each.

    `inputs` gives those (m, ...) of some of the examples (m,).
    """
    for start in range(0, max(1, len(chosen)), _BLOCK):
        block = inputs(chosen[start : start + _BLOCK])
        digest.update(block.tobytes())
        yield block


def _ordered(samples: Samples) -> dict[str, np.ndarray]:
    """Indices (n,) int64 of the examples by split, in the order of the dataset; UNLABELLED only if there are any.

    Unlabelled examples are in the order of their ids, because that of the dataset may follow the classes. So are
    training examples whose labels were hidden, after all others.
    """
    indices = {name: samples.indices(name) for name in SPLITS}
    last = np.intersect1d(indices["train"], samples.hidden)
    indices["train"] = np.concatenate([np.setdiff1d(indices["train"], last), last[np.argsort(samples.ids[last])]])
    unlabelled = samples.indices(UNLABELLED)
    return indices | ({UNLABELLED: unlabelled[np.argsort(samples.ids[unlabelled])]} if len(unlabelled) else {})


def _write_columns(path: Path, samples: Samples, indices: np.ndarray, digest: Any) -> None:
    """Write the group and the manifest's other columns of the examples at `indices`, if the dataset has any.

    Each value is in one line, without blanks at its ends: a reader might take a line break for the end of a row.
    """
    columns = {"group": samples.groups} if (samples.groups != "").any() else {}
    columns |= samples.columns
    if columns:
        lines = {name: [" ".join(value.split()) for value in column[indices]] for name, column in columns.items()}
        write_csv(path, pd.DataFrame(lines))
        digest.update(path.read_bytes())
