from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkroom import crossval
from tests.commands import toys


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty project as the current folder."""
    monkeypatch.chdir(tmp_path)


def test_folds_are_equal_seeded_and_follow_the_id():
    ids = np.array([f"image {index}" for index in range(100)])
    fold = crossval.folds(ids, 3, 0)
    assert sorted(np.bincount(fold).tolist()) == [33, 33, 34]
    order = np.random.default_rng(0).permutation(100)
    assert np.array_equal(crossval.folds(ids[order], 3, 0), fold[order])
    assert not np.array_equal(crossval.folds(ids, 3, 1), fold)


def test_a_subset_is_mapped_and_removed_afterwards(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crossval, "_BLOCK", 2)
    Path("data").mkdir()
    whole, indices = toys.split(9, "train"), np.array([8, 0, 3, 4, 7])
    with crossval.subset(whole, indices) as some:
        assert isinstance(some.inputs, np.memmap)
        assert np.array_equal(some.inputs, whole.inputs[indices])
        assert np.array_equal(some.labels, whole.labels[indices]) and some.ids.tolist() == whole.ids[indices].tolist()
    assert not list(Path("data").iterdir())


def test_flipped_labels_are_found_by_networks_that_have_not_seen_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(crossval.freshness, "notice", lambda: "data/arrays is old")
    train = toys.split(240, "train")
    flipped = [7, 40, 133]
    train.labels[flipped] ^= 1
    toys.write({"train": train, "val": toys.split(20, "val"), "test": toys.split(10, "test")})
    crossval.main(["--folds", "2", "--output", "found"])
    suspects = pd.read_csv("found/suspects.csv")
    assert set(suspects["id"].head(3)) == {f"train/{index:03}" for index in flipped}
    assert (suspects["label"] != suspects["suggested"]).head(3).all()
    with Image.open("found/suspects.png") as sheet:
        assert sheet.width > 300
    printed, warned = capsys.readouterr()
    assert "data/arrays is old" in warned
    assert "fold 2 of 2" in printed
    assert f"{len(suspects)} of 240" in printed and "found/suspects.csv" in printed


@pytest.mark.parametrize("count", ["1", "-3", "two"])
def test_fewer_than_two_folds_are_rejected(count: str):
    with pytest.raises(SystemExit, match=r"^2$"):
        crossval.main([f"--folds={count}"])


def test_more_folds_than_examples_are_rejected():
    splits = {name: toys.split(4, name) for name in ("train", "val", "test")}
    toys.write(splits)
    with pytest.raises(SystemExit, match=r"--folds 5: .*4"):
        crossval.main(["--folds=5"])


def test_missing_data_are_reported():
    toys.write({name: toys.split(4, name) for name in ("train", "val", "test")})
    Path("data/arrays/manifest.json").unlink()
    with pytest.raises(SystemExit, match=r"^crossval: .*manifest\.json is missing"):
        crossval.main([])
