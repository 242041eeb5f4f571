import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.preprocess import report
from darkroom.preprocess.cleaning import Finding


def make_split(counts: list[int], shape: tuple[int, int, int] = (4, 4, 1)) -> Split:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    return Split(images, labels, np.array([f"train/{place:05}" for place in range(len(labels))]))


def make_manifest(classes: int, shape: tuple[int, int, int] = (4, 4, 1)) -> Manifest:
    names = tuple(f"class {label}" for label in range(classes))
    counts = {"train": 4, "val": 2, "test": 3}
    return Manifest(
        "toy",
        "Toy pictures",
        "CC0",
        names,
        shape,
        (0.5,) * shape[2],
        (0.25,) * shape[2],
        counts,
        Augmentation(False, 0),
        "",
    )


def finding(name: str, rule: str, done: str = "left out", detail: str = "") -> Finding:
    return Finding(name, "train", rule, detail, done)


NEAR = pd.DataFrame({"first": ["a,b"], "second": ["c"], "difference": [0.5]})


def write(folder, seed=0, findings=()) -> None:
    splits = {"train": make_split([3, 1]), "val": make_split([1, 1]), "test": make_split([3, 0])}
    report.write(folder, splits, make_manifest(2), findings, NEAR, seed)


def test_summary_counts_everything_and_is_strict_json():
    findings = [finding("a", "leak"), finding("b", "leak"), finding("c", "constant"), finding("d", "duplicate", "kept")]
    summary = report.summary(make_manifest(2, (4, 5, 3)), np.array([0, 0, 0, 1]), findings)
    assert summary == {
        **{"train": 4, "val": 2, "test": 3},
        **{"left_out": 3, "left_out_unusable": 0, "left_out_constant": 1, "left_out_aspect": 0, "left_out_leak": 2},
        **{
            "left_out_conflict": 0,
            "left_out_duplicate": 0,
            "left_out_rare": 0,
            "left_out_near_leak": 0,
            "kept_suspect": 1,
        },
        **{
            "classes": 2,
            "smallest_class_share": 0.25,
            "largest_class_share": 0.75,
            "height": 4,
            "width": 5,
            "channels": 3,
        },
        **{"mean_0": 0.5, "mean_1": 0.5, "mean_2": 0.5, "std_0": 0.25, "std_1": 0.25, "std_2": 0.25},
    }
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_tables_say_what_the_splits_hold_and_what_was_found(tmp_path):
    write(tmp_path / "data", findings=[finding("a, b\n.png", "conflict", "kept", 'labelled "a", but also b')])
    assert (tmp_path / "data/counts.csv").read_text() == "class,train,val,test\nclass 0,3,1,3\nclass 1,1,1,0\n"
    table = pd.read_csv(tmp_path / "data/findings.csv")
    assert table.columns.tolist() == ["id", "split", "rule", "detail", "done"]
    assert table.to_numpy().tolist() == [["a, b\n.png", "train", "conflict", 'labelled "a", but also b', "kept"]]
    assert (tmp_path / "data/near_duplicates.csv").read_text() == 'first,second,difference\n"a,b",c,0.5\n'


def test_the_account_counts_by_rule():
    assert report.account([]) == "0 left out"
    findings = [finding("a", "leak"), finding("b", "unusable"), finding("c", "leak"), finding("d", "duplicate", "kept")]
    assert report.account(findings) == "3 left out (2 leak, 1 unusable), 1 suspect kept"


def test_same_data_give_the_same_bytes_and_the_seed_draws_the_pictures(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(tmp_path / name, seed)
    contents = {name: {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in "abc"}
    assert set(contents["a"]) == {"counts.csv", "findings.csv", "near_duplicates.csv", "samples.png"}
    assert contents["a"] == contents["b"]
    assert contents["a"]["samples.png"] != contents["c"]["samples.png"]


@pytest.mark.parametrize(
    ("shape", "mode"), [((28, 28, 1), "L"), ((32, 32, 3), "P"), ((200, 100, 3), "P"), ((1, 1, 1), "L")]
)
def test_sample_sheet_is_grey_or_coloured_and_of_modest_size(shape, mode):
    sheet = report.sample_sheet(make_split([5, 2], shape), make_manifest(2, shape), 0)
    assert sheet.mode == mode
    assert 100 <= sheet.height <= 200
    assert 640 <= sheet.width <= 1000


def test_sample_sheet_shows_the_pictures_themselves():
    images = np.stack([np.full((28, 28, 1), 60, np.uint8), np.full((28, 28, 1), 120, np.uint8)])
    sheet = np.asarray(
        report.sample_sheet(Split(images, np.array([0, 1]), np.array(["a", "b"])), make_manifest(2, (28, 28, 1)), 0)
    )
    assert (sheet == 60).sum() >= 56 * 56  # enlarged twofold, and not smoothed
    assert (sheet == 120).sum() >= 56 * 56
    assert (
        np.flatnonzero((sheet == 60).sum(1) >= 56).max() < np.flatnonzero((sheet == 120).sum(1) >= 56).min()
    )  # a row each


def test_sample_sheet_of_many_classes_is_cut_and_says_so(monkeypatch):
    titles = []
    monkeypatch.setattr(
        report, "_label_rows", lambda pixels, names, title: titles.append((len(names), title)) or Image.new("L", (1, 1))
    )
    report.sample_sheet(make_split([1] * 47), make_manifest(47), 0)
    report.sample_sheet(make_split([1] * 30), make_manifest(30), 0)
    assert titles == [
        (30, "Toy pictures: training pictures, the first 30 of 47 classes"),
        (30, "Toy pictures: training pictures"),
    ]


def test_names_are_not_read_as_formulas():
    manifest = make_manifest(2)
    odd = Manifest(**{**vars(manifest), "classes": ("$\\frac{$", "a" * 200), "title": "$x$ " * 100})
    report.sample_sheet(make_split([1, 1]), odd, 0)
