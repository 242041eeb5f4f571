"""Texts from their tables to the packed arrays."""

from collections import Counter
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.core import arrays
from darkroom.core.arrays import HIDDEN, UNLABELLED
from darkroom.datasets import descriptions, texts
from darkroom.preprocess import selection, text_report
from darkroom.preprocess.config import CleanConfig, PreprocessConfig
from darkroom.preprocess.report import ROW
from darkroom.preprocess.texts import Texts
from tests.preprocess.test_selection import RULES, SETTINGS

WORDS = ("card", "loan", "rate", "fee", "pin", "app", "atm", "cheque", "branch", "limit", "visa", "cash")


def rows(train: int = 8) -> list[tuple[str, str, str]]:
    """Text, label and split: `train` training texts of each of two classes, two of each for validation and test."""
    random, found = np.random.default_rng(0), []
    for number in range(2 * train + 8):
        split = "train" if number < 2 * train else ("val", "test")[number // 2 % 2]
        chosen = " ".join(random.permutation(WORDS)[:6].tolist())
        found.append((f"{chosen} {number}", ("lost", "stolen")[number % 2], split))
    return found


def pack(folder: Path, table: list[tuple[str, str, str]], **changes: object) -> arrays.Manifest:
    """Write the arrays of these rows to <folder>/arrays."""
    mine = folder / "data/datasets/mine"
    mine.mkdir(parents=True)
    lines = [f"id{number:03},{','.join(row)}" for number, row in enumerate(table)]
    (mine / "mine.csv").write_text("\n".join(["id,text,label,split", *lines]) + "\n")
    with chdir(folder):
        texts.build(descriptions.load("mine"), "raw")
    clean = CleanConfig(**{**RULES, "max_aspect": 0.0, "min_class_size": 0})
    settings = PreprocessConfig(**{**SETTINGS, **changes}, clean=clean)
    with Texts(folder / "raw", settings) as examples:
        found = selection.select(examples, settings, 0)
        return examples.write(folder / "arrays", found.samples, found.classes)


def test_texts_are_packed_with_their_tokens(tmp_path: Path):
    table = [
        *rows(),
        ("Card!  lost", "lost", "train"),
        ("card lost", "lost", "train"),
        (rows()[-1][0], "lost", "train"),
    ]
    manifest = pack(tmp_path, table)
    assert (manifest.kind, dict(manifest.counts)) == ("text", {"train": 17, "val": 4, "test": 4})
    train = arrays.read_split(tmp_path / "arrays", "train")
    assert train.inputs.dtype == np.int32 and train.inputs.shape[1:] == manifest.shape[:1]
    names = {f"id{number:03}": text for number, (text, *_) in enumerate(table)}
    assert arrays.read_texts(tmp_path / "arrays", "train") == [names[one] for one in train.ids.tolist()]


def test_unlabelled_texts_change_no_other_split(tmp_path: Path):
    more = [(f"what is this {word}", "", "") for word in WORDS[:3]] + [(rows()[-1][0], "", "")]
    plain, manifest = pack(tmp_path / "plain", rows()), pack(tmp_path / "more", [*more, *rows()])
    assert dict(manifest.counts) == {**plain.counts, UNLABELLED: 3}  # one is a test text
    assert manifest.shape == plain.shape and manifest.sha256 != plain.sha256
    for part in ("train.inputs.npy", "test.inputs.npy", "train.texts.json", "tokenizer.json"):
        assert (tmp_path / "plain/arrays" / part).read_bytes() == (tmp_path / "more/arrays" / part).read_bytes()
    split = arrays.read_unlabelled(tmp_path / "more/arrays")
    assert split.ids.tolist() == ["id000", "id001", "id002"] and set(split.labels.tolist()) == {-1}
    assert arrays.read_texts(tmp_path / "more/arrays", UNLABELLED) == [row[0] for row in more[:3]]


def test_texts_whose_label_is_hidden_are_unlabelled(tmp_path: Path):
    manifest = pack(tmp_path, rows(), labels_per_class=2)
    assert dict(manifest.counts) == {"train": 4, "val": 4, "test": 4, UNLABELLED: 12}
    ids = arrays.read_unlabelled(tmp_path / "arrays").ids.tolist()
    assert ids == sorted(ids) and all(one.startswith(HIDDEN) for one in ids)
    shown = [*arrays.read_texts(tmp_path / "arrays", "train"), *arrays.read_texts(tmp_path / "arrays", UNLABELLED)]
    assert sorted(shown) == sorted(text for text, _, split in rows() if split == "train")


def test_the_report_shows_unlabelled_texts(tmp_path: Path):
    manifest = pack(tmp_path / "data", rows(), labels_per_class=2)
    splits = {name: arrays.read_split(tmp_path / "data/arrays", name) for name in manifest.counts}
    with chdir(tmp_path):
        text_report.write(tmp_path, splits, manifest, 0)
    assert pd.read_csv(tmp_path / "lengths.csv")["split"].tolist() == ["train", "val", "test", UNLABELLED]
    assert Counter(pd.read_csv(tmp_path / "samples.csv")["class"]) == {"lost": 2, "stolen": 2, ROW: 5}
