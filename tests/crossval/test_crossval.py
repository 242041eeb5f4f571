import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkroom.core.arrays import Split
from darkroom.crossval import __main__ as crossval
from darkroom.crossval import out_of_sample
from tests.commands import toys
from tests.repository import change


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty project as the current folder."""
    monkeypatch.chdir(tmp_path)


def test_a_subset_is_mapped_and_removed_afterwards(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(out_of_sample, "_BLOCK", 2)
    Path("data").mkdir()
    whole, indices = replace(toys.split(9, "train"), size=(5, 4)), np.array([8, 0, 3, 4, 7])
    assert whole.inputs.shape[1:3] == (5, 4) != whole.uncropped.shape[1:3]
    with out_of_sample.subset(whole, indices) as some:
        assert isinstance(some.inputs, np.memmap)
        assert np.array_equal(some.inputs, whole.inputs[indices])
        assert np.array_equal(some.uncropped, whole.uncropped[indices])
        assert np.array_equal(some.labels, whole.labels[indices]) and some.ids.tolist() == whole.ids[indices].tolist()
    assert not list(Path("data").iterdir())


def test_flipped_labels_are_found_by_networks_that_have_not_seen_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(crossval.freshness, "notice", lambda: "data/arrays is old")
    train = toys.split(240, "train")
    flipped = [7, 40, 133]
    train.labels[flipped] ^= 1
    val = toys.split(20, "val")
    val.labels[5] ^= 1
    toys.write({"train": train, "val": val, "test": toys.split(10, "test")})
    crossval.main(["--folds", "2", "--output", "found"])
    suspects, of_val = pd.read_csv("found/suspects.csv"), pd.read_csv("found/val_suspects.csv")
    assert of_val["id"][0] == "val/005"
    assert set(suspects["id"].head(3)) == {f"train/{index:03}" for index in flipped}
    assert (suspects["label"] != suspects["suggested"]).head(3).all()
    for name in ("suspects", "val_suspects"):
        with Image.open(f"found/{name}.png") as sheet:
            assert sheet.width > 300
    printed, warned = capsys.readouterr()
    assert "data/arrays is old" in warned
    assert "fold 2 of 2" in printed
    assert f"{len(suspects)} of 240" in printed and f"{len(of_val)} of 20" in printed and "found" in printed


def test_a_teacher_that_has_seen_the_labels_has_no_influence():
    toys.write({name: toys.split(size, name) for name, size in (("train", 60), ("val", 12), ("test", 6))})
    change(Path(), train={"distill": {"teacher": "unknown", "weight": 0.9, "temperature": 2.0}})
    crossval.main(["--folds", "2", "--output", "found"])
    assert Path("found/suspects.csv").exists()


def remarks(correct: int, total: int, groups: np.ndarray | None = None, learned: list[list[int]] | None = None) -> str:
    is_correct = np.arange(total) < correct
    seen = np.array(learned or [[50, 50], [50, 50]])
    return "\n".join(crossval.remarks(is_correct, groups, seen, ("cat", "dog")))


def test_the_accuracy_of_the_networks_is_said():
    assert "98.0% (95 % interval: 93.0% to 99.4%)" in remarks(98, 100) and "\n" not in remarks(98, 100)
    assert "err on about 37%" in remarks(63, 100)
    assert "0.0% to 100.0%" in remarks(98, 100, groups=np.full(100, "p1"))  # one group says nothing about others


def test_classes_that_the_networks_hardly_know_are_named():
    text = remarks(98, 100, learned=[[50, 1], [50, 2]])
    assert "dog (1)" in text and "cat" not in text
    text = remarks(98, 100, learned=[[50, 0], [50, 2]])
    assert "Not checked" in text and "dog" in text


def test_groups_are_whole_and_a_class_of_one_group_is_not_checked(capsys: pytest.CaptureFixture):
    splits = {name: toys.split(size, name) for name, size in (("train", 60), ("val", 12), ("test", 6))}
    toys.write(splits)
    groups = np.where(splits["train"].labels == 1, "right", np.char.add("p", (np.arange(60) // 10).astype(str)))
    pd.DataFrame({"group": groups}).to_csv("data/arrays/train.columns.csv", index=False)
    crossval.main(["--folds", "2", "--output", "found"])
    printed = capsys.readouterr().out
    assert "Not checked" in printed and "right" in printed
    assert "right" not in set(pd.read_csv("found/suspects.csv")["label"])
    with pytest.raises(SystemExit, match=r"--folds 8: must be at most 7,.*group"):
        crossval.main(["--folds", "8"])


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


def test_only_what_killed_processes_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    kept = [Path("data", f".tmp-subset-{name}") for name in (f"{os.getpid()}-abc", "mine")]
    for folder in (*kept, left := Path("data", f".tmp-subset-{int(ended.stdout)}-abc")):
        folder.mkdir(parents=True)
        (folder / "inputs.npy").touch()
    split = Split(np.arange(6, dtype=np.uint8)[:, None], np.arange(6), np.arange(6).astype(str))
    with out_of_sample.subset(split, np.array([1, 4])) as part:
        assert part.inputs.tolist() == [[1], [4]] and not left.exists()
    assert sorted(Path("data").iterdir()) == sorted(kept)
