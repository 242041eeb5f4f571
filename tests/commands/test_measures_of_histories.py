"""What commands that train again measure of recommendations."""

import json
from pathlib import Path

import pandas as pd
import pytest

from darkroom import seeds
from darkroom.core import arrays
from darkroom.learning_curve import __main__ as learning_curve
from darkroom.search import __main__ as search
from tests.histories import ARGUMENTS, make
from tests.repository import ROOT, change
from tests.search import toy


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project of 12 histories as the current folder, whose training takes a moment."""
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in toy.LINKED:
        Path(name).symlink_to(ROOT / name)
    for command in (learning_curve, search):
        monkeypatch.setattr(command.freshness, "notice", lambda: "")
    change(tmp_path, model={"sasrec": ARGUMENTS["sasrec"]})
    change(tmp_path, train={"epochs": 2.0, "min_steps": 0, "batch_size": 8, "lr": 0.01, "device": "cpu", "threads": 1})


def test_seeds_measure_hits():
    assert set(seeds.train(1)) == {"val_accuracy", "hr_at_10"}


def test_a_learning_curve_is_of_hits_by_users(capsys: pytest.CaptureFixture):
    learning_curve.main(["--fractions", "1/4", "1/2", "1", "--seeds", "1"])
    table, examples = pd.read_csv(learning_curve.TABLE), len(arrays.read_split("data/arrays", "train"))
    assert list(table.columns) == ["fraction", "labels", "seed", "hr_at_10"]
    assert table["labels"].tolist() == [round(examples / 4), round(examples / 2), examples]
    assert set(json.loads(learning_curve.SUMMARY.read_text())["expected"]["2"]) == {"labels", "hr_at_10", "low", "high"}
    printed = capsys.readouterr().out
    assert "validation HR@10 " in printed and "accuracy" not in printed


def test_a_search_compares_losses(capsys: pytest.CaptureFixture):
    file = toy.write(trials=3, seeds=[1, 2], parameters={"train.lr": [1e-9, 0.01, 0.03]}, sampler="grid")
    search.main([file])
    found = toy.report(file)
    rows = {row["trial"]: row for row in found["rows"]}
    assert found["measure"] == "validation loss" and len(rows) == 3
    losses = [trial.user_attrs["records"][-1]["val_loss"] for trial in toy.stored().trials]
    assert [rows[number]["score"] for number in range(3)] == [-loss for loss in losses]
    best = min(row["mean"] for row in found["finalists"])
    assert found["finalists"][0]["mean"] > best and found["winner"] == found["finalists"][0]["trial"]
    assert rows[found["winner"]]["sample"]["train.lr"] > 1e-9
    printed = capsys.readouterr().out
    assert f"wins with a validation loss of {-found['finalists'][0]['mean']:.4f}" in printed
    assert "accuracy" not in Path("metrics/search/toy/index.html").read_text(encoding="utf-8")
