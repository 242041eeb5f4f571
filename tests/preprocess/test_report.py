import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.preprocess import report, sample_sheet
from darkroom.preprocess.cleaning import KEPT, RELABELLED, REMOVED, Finding
from darkroom.preprocess.shift import Shift
from tests.packs import AS_IS


def make_split(counts: list[int], shape: tuple[int, int, int] = (4, 4, 1)) -> Split:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    return Split(images, labels, np.array([f"train/{index:05}" for index in range(len(labels))]))


def make_manifest(classes: int, shape: tuple[int, int, int] = (4, 4, 1)) -> Manifest:
    return Manifest(
        dataset="toy",
        title="Toy images",
        licence="CC0",
        classes=tuple(f"class {label}" for label in range(classes)),
        shape=shape,
        mean=(0.5,) * shape[2],
        std=(0.25,) * shape[2],
        counts={"train": 4, "val": 2, "test": 3},
        augmentation=Augmentation(False, 0),
        sha256="",
        **AS_IS,
    )


def finding(name: str, rule: str, action: str = REMOVED, detail: str = "") -> Finding:
    return Finding(name, "train", rule, detail, action)


NEAR = pd.DataFrame({"first": ["a,b"], "second": ["c"], "difference": [0.5]})
GROUPS = pd.DataFrame({"group": ["p1"], "of": ["split"], "name": ["val"], "fraction": [0.75]})
FINDINGS = [finding("a", "leak"), finding("b", "unusable"), finding("c", "leak"), finding("d", "duplicate", KEPT)]


def write(folder: Path, seed: int = 0, findings: tuple[Finding, ...] = ()) -> None:
    splits = {"train": make_split([3, 1]), "val": make_split([1, 1]), "test": make_split([3, 0])}
    samples = partial(sample_sheet.write, splits=splits, manifest=make_manifest(2), seed=seed)
    report.write(folder, splits, report.counts(splits, make_manifest(2).classes), findings, NEAR, GROUPS, samples)


def test_unlabelled_images_are_counted_and_shown(tmp_path: Path):
    splits = {"train": make_split([3, 1]), "val": make_split([1, 1]), "test": make_split([3, 0])}
    images = np.full((5, 4, 4, 1), 99, np.uint8)
    splits["unlabelled"] = Split(images, np.full(5, -1), np.array([f"u/{index}" for index in range(5)]))
    manifest = replace(make_manifest(2), counts={"train": 4, "val": 2, "test": 3, "unlabelled": 5})
    shift = Shift(auc=0.75, low=0.7, high=0.8, p_value=0.001, labelled=4, unlabelled=5)
    samples = partial(sample_sheet.write, splits=splits, manifest=manifest, seed=0)
    report.write(tmp_path / "data", splits, report.counts(splits, manifest.classes), [], NEAR, GROUPS, samples, shift)
    table = pd.read_csv(tmp_path / "data" / "counts.csv")
    assert table.to_numpy().tolist() == [
        ["class 0", 3, 1, 3, 0], ["class 1", 1, 1, 0, 0], ["(unlabelled)", 0, 0, 0, 5]
    ]  # fmt: skip
    assert pd.read_csv(tmp_path / "data" / "unlabelled.csv").to_dict("records") == [asdict(shift)]
    summary = report.summary(manifest, splits["train"].labels, [], {}, shift)
    assert summary["unlabelled"] == 5 and summary["unlabelled_auc"] == 0.75
    sheets = [sample_sheet.sample_sheet(splits["train"], manifest, 0, part) for part in (None, splits["unlabelled"])]
    assert sheets[1].height > sheets[0].height
    assert [(np.asarray(sheet) == 99).sum() > 5 * 56**2 / 2 for sheet in sheets] == [False, True]
    assert "5 unlabelled images" in report.summary_line(manifest, [])


def test_the_summary_is_flat_and_strict_json():
    manifest = make_manifest(2, (4, 5, 3))
    summary = report.summary(manifest, np.array([0, 0, 0, 1]), FINDINGS, sample_sheet.facts(manifest, {}))
    assert summary == {
        "train": 4,
        "val": 2,
        "test": 3,
        "removed": 3,
        "suspect_kept": 1,
        "classes": 2,
        "smallest_class_fraction": 0.25,
        "largest_class_fraction": 0.75,
        "height": 4,
        "width": 5,
        "channels": 3,
        "mean_0": 0.5,
        "mean_1": 0.5,
        "mean_2": 0.5,
        "std_0": 0.25,
        "std_1": 0.25,
        "std_2": 0.25,
    }
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_the_summary_line_counts_by_split_and_rule():
    sizes = "Toy images: 4 train, 2 val, 3 test images; "
    assert report.summary_line(make_manifest(2), []) == f"{sizes}0 removed"
    line = report.summary_line(make_manifest(2), FINDINGS)
    assert line == f"{sizes}3 removed (2 leak, 1 unusable); 1 suspect kept"


def test_corrected_labels_are_counted():
    found = [*FINDINGS, *(finding(name, "relabelled", RELABELLED) for name in "efg"), finding("h", "relabelled")]
    line = report.summary_line(make_manifest(2), found)
    assert line.endswith("; 4 removed (2 leak, 1 unusable, 1 relabelled); 1 suspect kept; 3 relabelled")
    summary = report.summary(make_manifest(2), np.array([0, 1]), found, {})
    assert (summary["removed"], summary["suspect_kept"], summary["relabelled"]) == (4, 1, 3)
    assert "relabelled" not in report.summary(make_manifest(2), np.array([0, 1]), FINDINGS, {})


def test_unlabelled_examples_of_which_none_is_left_are_reported():
    found = [*FINDINGS, Finding("x", "unlabelled", "leak", "", REMOVED)]
    assert report.summary(make_manifest(2), np.array([0, 1]), found, {})["unlabelled"] == 0
    assert "unlabelled" not in report.summary(make_manifest(2), np.array([0, 1]), FINDINGS, {})


def test_tables_hold_counts_findings_and_near_duplicates(tmp_path: Path):
    write(tmp_path / "data", findings=(finding("a, b\n.png", "conflict", KEPT, 'labelled "a", b'),))
    assert (tmp_path / "data/counts.csv").read_text() == "class,train,val,test\nclass 0,3,1,3\nclass 1,1,1,0\n"
    table = pd.read_csv(tmp_path / "data/findings.csv")
    assert table.columns.tolist() == ["id", "split", "rule", "detail", "action"]
    assert table.to_numpy().tolist() == [["a, b\n.png", "train", "conflict", 'labelled "a", b', "kept"]]
    assert (tmp_path / "data/near_duplicates.csv").read_text() == 'first,second,difference\n"a,b",c,0.5\n'
    assert (tmp_path / "data/dominant_groups.csv").read_text() == "group,of,name,fraction\np1,split,val,0.75\n"


def test_the_report_is_reproducible_and_the_samples_depend_on_the_seed(tmp_path: Path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(tmp_path / name, seed)
    contents = {name: {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in "abc"}
    assert set(contents["a"]) == {
        *("counts.csv", "dominant_groups.csv", "findings.csv", "near_duplicates.csv", "samples.png")
    }
    assert contents["a"] == contents["b"]
    assert contents["a"]["samples.png"] != contents["c"]["samples.png"]


@pytest.mark.parametrize(
    ("shape", "mode"), [((28, 28, 1), "L"), ((32, 32, 3), "P"), ((200, 100, 3), "P"), ((1, 1, 1), "L")]
)
def test_the_sample_sheet_has_the_colours_of_the_images_and_limited_size(shape: tuple[int, int, int], mode: str):
    sheet = sample_sheet.sample_sheet(make_split([5, 2], shape), make_manifest(2, shape), 0)
    assert sheet.mode == mode
    assert 100 <= sheet.height <= 200
    assert 640 <= sheet.width <= 1000


def test_the_sample_sheet_shows_unaltered_images_one_row_per_class():
    images = np.stack([np.full((28, 28, 1), 60, np.uint8), np.full((28, 28, 1), 120, np.uint8)])
    train = Split(images, np.array([0, 1]), np.array(["a", "b"]))
    sheet = np.asarray(sample_sheet.sample_sheet(train, make_manifest(2, (28, 28, 1)), 0))
    assert (sheet == 60).sum() >= 56 * 56  # enlarged twofold without smoothing
    assert (sheet == 120).sum() >= 56 * 56
    first, second = (np.flatnonzero((sheet == value).sum(1) >= 56) for value in (60, 120))
    assert first.max() < second.min()


def test_a_sample_sheet_of_many_classes_shows_the_first_ones(monkeypatch: pytest.MonkeyPatch):
    drawn = []

    def label_rows(pixels: np.ndarray, names: tuple[str, ...], title: str) -> Image.Image:
        drawn.append((len(names), title))
        return Image.new("L", (1, 1))

    monkeypatch.setattr(sample_sheet, "_label_rows", label_rows)
    sample_sheet.sample_sheet(make_split([1] * 47), make_manifest(47), 0)
    sample_sheet.sample_sheet(make_split([1] * 30), make_manifest(30), 0)
    assert [count for count, _ in drawn] == [30, 30]
    assert "first 30 of 47 classes" in drawn[0][1] and "first" not in drawn[1][1]


def test_names_are_not_parsed_as_formulas():
    names = ("$\\frac{$", "a" * 200)
    manifest = Manifest(**{**vars(make_manifest(2)), "classes": names, "title": "$x$ " * 100})
    sample_sheet.sample_sheet(make_split([1, 1]), manifest, 0)
