import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from darkroom import crossval
from darkroom.core.arrays import Augmentation, Split
from tests import packs

ROOT = Path(__file__).parents[2]


def split(n: int, name: str) -> Split:
    """Noise of 10 x 10 with a bright patch whose side, left or right, is the class."""
    random = np.random.default_rng(n)
    labels = np.arange(n) % 2
    images = random.integers(100, size=(n, 10, 10, 1), dtype=np.uint8)
    images[labels == 0, 3:7, 1:4] += 150
    images[labels == 1, 3:7, 6:9] += 150
    return Split(images, labels, np.array([f"{name}/{number:03}" for number in range(n)]))


def test_folds_are_equal_seeded_and_follow_the_name():
    ids = np.array([f"picture {number}" for number in range(100)])
    fold = crossval.folds(ids, 3, 0)
    assert sorted(np.bincount(fold).tolist()) == [33, 33, 34]
    order = np.random.default_rng(0).permutation(100)
    assert np.array_equal(crossval.folds(ids[order], 3, 0), fold[order])
    assert not np.array_equal(crossval.folds(ids, 3, 1), fold)


def test_a_part_is_mapped_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(crossval, "_BLOCK", 2)
    Path("data").mkdir()
    whole, places = split(9, "train"), np.array([8, 0, 3, 4, 7])
    with crossval.part(whole, places) as some:
        assert isinstance(some.images, np.memmap)
        assert np.array_equal(some.images, whole.images[places])
        assert np.array_equal(some.labels, whole.labels[places]) and some.ids.tolist() == whole.ids[places].tolist()
    assert not list(Path("data").iterdir())


def test_flipped_labels_are_found_by_networks_that_have_not_seen_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    train = split(240, "train")
    flipped = [7, 40, 133]
    train.labels[flipped] ^= 1
    about = {
        "dataset": "toy",
        "title": "Toy",
        "licence": "CC0",
        "classes": ("left", "right"),
        "augmentation": Augmentation(flip=False, shift=0),
    }
    packs.write("data/arrays", {"train": train, "val": split(20, "val"), "test": split(10, "test")}, about)
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["model"]["name"] = "cnn"
    values["train"] |= {"epochs": 4.0, "batch_size": 24, "lr": 0.02, "precision": "fp32"}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(sys, "argv", ["crossval", "--folds", "2"])
    crossval.main()
    suspects = pd.read_csv("metrics/labels/suspects.csv")
    assert set(suspects["id"].head(3)) == {f"train/{number:03}" for number in flipped}
    assert (suspects["label"] != suspects["suggested"]).head(3).all()
    with Image.open("metrics/labels/suspects.png") as sheet:
        assert sheet.width > 300
    printed = capsys.readouterr().out
    assert "fold 2 of 2, epoch   4" in printed
    assert f"{len(suspects)} of 240 training labels are probably wrong: metrics/labels/suspects.csv" in printed


@pytest.mark.parametrize("wanted", ["1", "-3"])
def test_fewer_than_two_folds_are_refused(wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(sys, "argv", ["crossval", f"--folds={wanted}"])
    with pytest.raises(SystemExit) as ended:
        crossval.main()
    assert ended.value.code == 2
    assert "two at least" in capsys.readouterr().err
