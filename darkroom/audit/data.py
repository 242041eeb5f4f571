"""Read everything that the audit shows."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.audit import freshness
from darkroom.core import arrays, params
from darkroom.core.arrays import OUT_OF_SCOPE, SPLITS, TEXT, Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.datasets import index, texts
from darkroom.preprocess import hiding, raw_data
from darkroom.preprocess.config import PreprocessConfig

_SUSPECTS = {  # title -> file of suspect labels
    "test set": "metrics/evaluate/suspect_labels.csv",
    "validation set": "metrics/labels/val_suspects.csv",
    "training set": "metrics/labels/suspects.csv",
}


@dataclass(frozen=True)
class AuditData:
    """The data of the audit; images are read from `splits` or by `read_originals`, texts by `read_texts`."""

    manifest: Manifest
    splits: Mapping[str, Split]
    unlabelled: Split | None
    shift: Mapping[str, float]  # the fields of `shift.Shift`; empty if it was not measured
    findings: pd.DataFrame  # metrics/data/findings.csv
    near_duplicates: pd.DataFrame  # metrics/data/near_duplicates.csv
    suspects: Mapping[str, pd.DataFrame]  # tables of `label_errors.table`, by title
    sizes: Counter[tuple[str, int, int]]  # images by format, width and height; empty for a published dataset
    seed: int
    notice: str  # see `freshness.notice` and `arrays.missing_labels`


def read() -> AuditData:
    """Read the data of the current project; raise DarkroomError if it is missing or invalid."""
    manifest = arrays.read_manifest("data/arrays")
    splits = {name: arrays.read_split("data/arrays", name) for name in SPLITS}
    return AuditData(
        manifest,
        splits,
        arrays.read_unlabelled("data/arrays"),
        _read_shift("metrics/data/unlabelled.csv"),
        read_table("metrics/data/findings.csv"),
        read_table("metrics/data/near_duplicates.csv").astype({"difference": float}),
        _current_suspects(manifest, splits),
        _original_sizes(),
        params.load(seed=params.Seed),
        " ".join(filter(None, (arrays.missing_labels(manifest), freshness.notice()))),
    )


def read_originals(ids: Iterable[str]) -> dict[str, np.ndarray]:
    """Decode the images (H, W, C) uint8 with these ids from the raw data, including removed ones.

    Images that cannot be decoded are missing from the result.
    """
    seed, settings = params.load(seed=params.Seed, preprocess=PreprocessConfig)
    raw, wanted = raw_data.read("data/raw", settings), set(ids)
    named = [raw.samples.ids]
    if settings.labels_per_class != "all":
        named.append(hiding.hidden_ids(raw.samples.ids, seed))
    indices = {name: index for some in named for index, name in enumerate(some.tolist()) if name in wanted}
    decoded = zip(indices, raw.take(np.array([*indices.values()], dtype=np.int64)), strict=True)
    return {name: image for name, image in decoded if not isinstance(image, str)}


def read_texts(ids: Iterable[str]) -> dict[str, str]:
    """The texts with these ids from the raw data, including removed ones."""
    seed, settings = params.load(seed=params.Seed, preprocess=PreprocessConfig)
    entries = [entry for entry in texts.read("data/raw") if entry.split != OUT_OF_SCOPE]
    names = np.array([entry.id for entry in entries], dtype=TEXT)
    named = [names]
    if settings.labels_per_class != "all":
        named.append(hiding.hidden_ids(names, seed))
    wanted = set(ids)
    pairs = (pair for some in named for pair in zip(some.tolist(), entries, strict=True))
    return {name: entry.text for name, entry in pairs if name in wanted}


def read_table(path: str) -> pd.DataFrame:
    """A CSV table with all columns as text; a class may be called "1" or "nan"."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DarkroomError(f"{path} cannot be read ({error}): run `dvc repro` to create it.") from None


def _read_shift(path: str) -> dict[str, float]:
    """The row of the table of `shift.measure`; empty if it was not measured."""
    return {name: float(value) for name, value in read_table(path).iloc[0].items()} if Path(path).exists() else {}


def _current_suspects(manifest: Manifest, splits: Mapping[str, Split]) -> dict[str, pd.DataFrame]:
    """The suspect labels on file, without those of other data and those that were corrected since."""
    labels = {}
    for split in splits.values():
        labels |= zip(split.ids.tolist(), (manifest.classes[label] for label in split.labels.tolist()), strict=True)
    tables = {title: read_table(path) for title, path in _SUSPECTS.items() if Path(path).exists()}
    return {
        title: table[table["label"] == table["id"].map(labels)].astype({"margin": float})
        for title, table in tables.items()
    }


def _original_sizes() -> Counter[tuple[str, int, int]]:
    if not Path("data/raw", index.FILE).exists():
        return Counter()
    return Counter((entry.format, entry.width, entry.height) for entry in index.read("data/raw") if not entry.problem)
