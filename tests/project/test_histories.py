"""A folder of histories through the stages, from its raw files to a trained network."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from darkroom.core import arrays
from darkroom.core.errors import DarkroomError
from darkroom.models import checkpoints, hardware
from darkroom.models.inference import predict
from stages import check, fetch, preprocess, pretrained, train
from tests import histories
from tests.repository import change, copy_project

TRAIN = {
    "epochs": 12,
    "batch_size": 8,
    "optimizer": "adamw",
    "lr": 0.02,
    "min_steps": 0,
    "device": "cpu",
    "threads": 1,
    "label_smoothing": 0.0,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose users see films mostly in one order, with a network trained on them; the working directory."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    change(folder, data={"dataset": "films"}, model={"name": "sasrec", "sasrec": histories.ARGUMENTS["sasrec"]})
    change(folder, train=TRAIN, evaluate={"slices": ["user"]})
    histories.raw(folder / "data/datasets/films", histories.events(60))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(hardware, "keep_freed_memory", lambda: None)
        for stage in (check, fetch, preprocess, pretrained, train):
            stage.main()
        yield folder


def test_the_network_learns_the_order_of_the_films(project: Path):
    trained = checkpoints.open_trained()
    test = trained.split("test")
    logits = predict(trained.network, test.inputs, (), ())
    mostly = [number for number, one in enumerate(test.ids.tolist()) if int(one.split("u")[-1].split("/")[0]) % 4]
    correct = logits.argmax(1) == test.labels
    assert correct[mostly].mean() > 0.6
    assert trained.description.name == "sasrec" and trained.manifest.kind == "history"
    assert "sampled_items" not in trained.description.params["train"]


def test_the_checkpoint_holds_the_features_of_the_items(project: Path):
    items = arrays.read_items("data/arrays")
    found = checkpoints.open_trained().network.embedding
    assert np.array_equal(found.features[1:].numpy(), items.features) and not found.features[0].any()


def test_the_records_of_the_stages(project: Path):
    numbers = json.loads(Path("metrics/train.json").read_text())
    assert numbers["val_loss"] < np.log(9) and numbers["flops_per_image"] > 0
    data = json.loads(Path("metrics/preprocess.json").read_text())
    assert data["users"] == 60 and data["classes"] == data["items"] == 9
    with Path("metrics/curves/curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and float(rows[-1]["val_loss"]) < float(rows[0]["val_loss"])
    for name in ("counts", "popularity", "lengths", "gaps", "samples"):
        assert Path(f"metrics/data/{name}.csv").exists()


def test_a_network_of_another_kind_is_refused_in_one_line(project: Path):
    change(project, model={"name": "text_cnn"})
    with pytest.raises(DarkroomError, match=r"'text_cnn' does not take histories: use one of sasrec, gru4rec"):
        train.main()
    change(project, model={"name": "sasrec"})
