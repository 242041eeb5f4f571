from pathlib import Path

import pandas as pd
import pytest

from darkroom.train import curves
from darkroom.train.gradients import LayerGradients
from darkroom.train.trainer import Record
from tests.trainings import recipe, trainer


def record(epoch: int, layers: dict[str, LayerGradients]) -> Record:
    return Record(
        epoch=epoch,
        lr=0.1,
        train_loss=1 / epoch,
        train_accuracy=0.5,
        batch_loss=1.5,
        batch_accuracy=0.75,
        val_loss=2.0,
        val_accuracy=0.25,
        seconds=3.0,
        layers=layers,
    )


def test_curves_have_one_row_per_epoch_and_gradients_one_per_epoch_and_layer(tmp_path: Path):
    layers = {"stem": LayerGradients(1.5, 0.25), "head": LayerGradients(2.5, 0.125)}
    curves.write(tmp_path / "curves", [record(1, layers), record(2, layers)])
    table = pd.read_csv(tmp_path / "curves/curves.csv")
    assert list(table.columns) == [
        *("epoch", "lr", "train_loss", "train_accuracy"),
        *("batch_loss", "batch_accuracy", "val_loss", "val_accuracy"),
    ]
    assert table.values.tolist() == [[epoch, 0.1, 1 / epoch, 0.5, 1.5, 0.75, 2.0, 0.25] for epoch in (1, 2)]
    table = pd.read_csv(tmp_path / "curves/gradients.csv")
    assert list(table.columns) == ["epoch", "layer", "gradient_norm", "update_ratio"]
    rows = [["stem", 1.5, 0.25], ["head", 2.5, 0.125]]
    assert table.values.tolist() == [[epoch, *row] for epoch in (1, 2) for row in rows]


def test_gradients_keep_their_columns_if_no_step_was_measured(tmp_path: Path):
    curves.write(tmp_path, [record(1, {})])
    table = pd.read_csv(tmp_path / "gradients.csv")
    assert list(table.columns) == ["epoch", "layer", "gradient_norm", "update_ratio"]
    assert table.empty


def test_files_can_be_rewritten_after_every_epoch_of_a_training(tmp_path: Path):
    run = trainer(recipe(epochs=3.0))
    for done in run.epochs():
        curves.write(tmp_path, run.records)
        table = pd.read_csv(tmp_path / "curves.csv")
        assert list(table["epoch"]) == list(range(1, done.epoch + 1))
        assert table["val_loss"].iloc[-1] == pytest.approx(done.val_loss, rel=1e-5)
        assert set(pd.read_csv(tmp_path / "gradients.csv")["epoch"]) == set(table["epoch"])
    assert {path.name for path in tmp_path.iterdir()} == {"curves.csv", "gradients.csv"}
