"""Texts from their tables to the packed arrays."""

import hashlib
from collections import Counter
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from darkroom.core import arrays
from darkroom.core.arrays import HIDDEN, OUT_OF_SCOPE, UNLABELLED
from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, texts
from darkroom.preprocess import selection, text_report
from darkroom.preprocess.config import CleanConfig, PreprocessConfig
from darkroom.preprocess.report import ROW
from darkroom.preprocess.texts import Texts
from darkroom.tokens import text
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


def test_out_of_scope_texts_are_in_no_split(tmp_path: Path):
    known = rows()[0][0]
    others = [("who won?", "oos", ""), ("Who won!", "oos", "test"), (known, "oos", ""), ("", "oos", "train")]
    plain, manifest = pack(tmp_path / "plain", rows()), pack(tmp_path / "more", [*rows(), *others])
    assert manifest.counts == plain.counts and manifest.classes == plain.classes
    assert manifest.sha256 != plain.sha256 and manifest.test_sha256 == plain.test_sha256
    for part in ("train.inputs.npy", "val.labels.npy", "test.texts.json", "tokenizer.json"):
        assert (tmp_path / "plain/arrays" / part).read_bytes() == (tmp_path / "more/arrays" / part).read_bytes()
    split = arrays.read_out_of_scope(tmp_path / "more/arrays")
    assert (split.ids.tolist(), split.labels.tolist()) == ([f"id{len(rows()):03}"], [-1])
    assert arrays.read_texts(tmp_path / "more/arrays", OUT_OF_SCOPE) == ["who won?"]
    assert arrays.read_out_of_scope(tmp_path / "plain/arrays") is None


def test_cut_and_out_of_scope_texts_are_counted(tmp_path: Path):
    table = [*rows(), ("card " * 300, "lost", "train"), ("who won?", "oos", "")]
    manifest = pack(tmp_path / "data", table)
    splits = {name: arrays.read_split(tmp_path / "data/arrays", name) for name in manifest.counts}
    with chdir(tmp_path / "data"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_report, "ARRAYS", "arrays")
        found = text_report.facts(manifest, splits)
        text_report.write(Path(), splits, manifest, 0)
    assert (found["cut"], found[OUT_OF_SCOPE]) == (1, 1)
    lengths = pd.read_csv(tmp_path / "data/lengths.csv").set_index("split")
    assert lengths["cut"].to_dict() == {"train": 1, "val": 0, "test": 0, OUT_OF_SCOPE: 0}


@pytest.mark.parametrize("digest", ["own", "0" * 64, None])
def test_a_tokenizer_must_belong_to_its_weights(digest: str | None, tmp_path: Path):
    contents = text.train(WORDS, 300)
    weights = tmp_path / "data/pretrained/mine"
    weights.mkdir(parents=True)
    (weights / "tokenizer.json").write_bytes(contents)
    if digest:
        own = hashlib.sha256(contents).hexdigest()
        (weights / "weights.yaml").write_text(f"tokenizer: {own if digest == 'own' else digest}\n")
    settings = {**SETTINGS["text"], "tokenizer": "mine"}
    with chdir(tmp_path):
        if digest == "0" * 64:
            with pytest.raises(DarkroomError, match=r"not the tokenizer of these weights.*restore it"):
                pack(tmp_path, rows(), text=settings)
        else:
            assert pack(tmp_path, rows(), text=settings).kind == "text"


def test_chinese_texts_have_the_right_tokens(tmp_path: Path):
    words = ("银行卡", "在哪里", "丢失", "贷款", "利率", "手续费", "密码", "应用", "支票", "限额")
    random, table, parts = np.random.default_rng(0), [], ("train", "train", "val", "test")
    for number in range(24):
        chosen = "".join(random.permutation(words)[:5].tolist())
        table.append((f"{chosen}{number}。", ("挂失", "查询")[number % 2], parts[number // 2 % 4]))
    manifest = pack(tmp_path, table)
    assert manifest.classes == ("挂失", "查询")
    tokenizer = text.Tokenizer((tmp_path / "arrays/tokenizer.json").read_bytes(), manifest.shape[0])
    given = arrays.read_texts(tmp_path / "arrays", "train")
    for one in given:
        tokens = tokenizer.tokens(one)
        assert {place for token in tokens for place in range(token.start, token.end)} == set(range(len(one)))
    assert any(given[0][token.start : token.end] in words for token in tokenizer.tokens(given[0]))
    splits = {name: arrays.read_split(tmp_path / "arrays", name) for name in manifest.counts}
    assert text_report.scripts({"train": given})["CJK"].tolist() == [len(splits["train"])]
