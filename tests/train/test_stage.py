"""The script stages/train.py."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from darkroom.core import params
from darkroom.core.arrays import Augmentation
from darkroom.core.errors import DarkroomError
from darkroom.models import checkpoints
from darkroom.train import curves, resume
from stages import train
from tests import packs
from tests.trainings import PATH, same, split

KNOWN = {
    "dataset": "toy",
    "title": "Toy",
    "licence": "CC0-1.0",
    "classes": ("left", "right"),
    "augmentation": Augmentation(flip=False, shift=0),
}


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with data/arrays and a params.yaml, whose values are returned."""
    monkeypatch.chdir(tmp_path)
    packs.write("data/arrays", {"train": split(256, 1), "val": split(64, 2), "test": split(8, 3)}, KNOWN)
    values = params.read(PATH)
    values["model"]["name"] = "sprint"
    values["train"] |= {"epochs": 3, "batch_size": 32, "min_steps": 0}
    values["train"] |= {"device": "cpu", "precision": "fp32", "threads": 1}
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return values


def test_outputs_are_complete_and_curves_are_written_after_every_epoch(
    values: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    write, epochs = curves.write, []

    def write_and_read(folder: str, records: list) -> None:
        write(folder, records)
        epochs.append(list(pd.read_csv(f"{folder}/curves.csv")["epoch"]))
        assert not Path("models/trained").exists()  # the training is still running

    monkeypatch.setattr(curves, "write", write_and_read)
    costs = train.main()
    assert epochs == [[1], [1, 2], [1, 2, 3]]
    assert set(costs) == {"training_seconds", "images_per_second", "mfu"}
    summary = json.loads(Path("metrics/train.json").read_text(encoding="utf-8"))
    assert summary["epochs"] == 3
    assert summary["parameters"] == 61_018 - 8 * 65  # 2 classes instead of 10
    network, description = checkpoints.load("models/trained")
    assert (description.name, description.params["seed"]) == ("sprint", values["seed"])
    assert sum(weight.numel() for weight in network.parameters()) == summary["parameters"]
    assert not list(resume.FOLDER.glob("*"))
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "training sprint on 256 examples: 1 CPU thread, fp32 (set by train.precision)"


@pytest.mark.parametrize("tune", ["lora", "adalora"])
def test_the_adapter_is_kept_beside_the_merged_network(values: dict, tune: str):
    values["train"] |= {"tune": tune, "epochs": 1, "freeze_epochs": 0.25}
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    train.main()
    files = {path.name for path in Path("models/trained").iterdir()}
    assert files == {"model.safetensors", "model.json", "adapter.safetensors", "adapter_config.json"}
    network, description = checkpoints.load("models/trained")
    summary = json.loads(Path("metrics/train.json").read_text(encoding="utf-8"))
    assert summary["parameters"] == sum(weight.numel() for weight in network.parameters())
    assert 0 < summary["optimizer_bytes"] < 9 * summary["trainable_parameters"] < 9 * summary["parameters"]
    assert description.params["train"]["tune"] == tune
    values["train"] |= {"tune": "all"}
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    train.main()
    assert not Path("models/trained/adapter.safetensors").exists()


def test_interrupted_stage_resumes_with_the_same_result(
    values: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    train.main()
    expected, _ = checkpoints.load("models/trained")
    write = curves.write

    def interrupt(folder: str, records: list) -> None:
        if len(records) == 2:
            raise KeyboardInterrupt
        write(folder, records)

    monkeypatch.setattr(curves, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train.main()
    monkeypatch.setattr(curves, "write", write)
    capsys.readouterr()
    train.main()
    assert any("resuming" in line and "epoch 2" in line for line in capsys.readouterr().out.splitlines())
    assert list(pd.read_csv("metrics/curves/curves.csv")["epoch"]) == [1, 2, 3]
    resumed, _ = checkpoints.load("models/trained")
    weights = expected.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in resumed.state_dict().items())


def test_training_set_smaller_than_a_batch_is_trained_on_as_one_batch(values: dict, capsys: pytest.CaptureFixture):
    values["train"]["batch_size"] = 512
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    train.main()
    size, lowered, hint, *epochs = capsys.readouterr().out.splitlines()[1:]
    assert size == "batches of 256, 3 epochs of 1 step: 3 steps"
    assert "512" in lowered and "256" in lowered
    assert "3 steps" in hint and "train.min_steps" in hint
    assert len(epochs) == 3
    assert checkpoints.load("models/trained")[1].params["train"]["batch_size"] == 256


def test_unlabelled_examples_are_trained_on_if_a_method_is_given(values: dict, capsys: pytest.CaptureFixture):
    values["train"]["epochs"] = 1
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    train.main()
    alone = checkpoints.load("models/trained")[0].state_dict()
    values["train"]["semi_supervised"] |= {"method": "freematch"}
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(DarkroomError, match="unlabelled"):
        train.main()
    more = split(600, 3)
    np.save("data/arrays/unlabelled.inputs.npy", more.inputs)
    Path("data/arrays/unlabelled.ids.json").write_text(json.dumps(more.ids.tolist()), encoding="utf-8")
    train.main()
    assert "600 unlabelled examples" in capsys.readouterr().out
    assert not same(checkpoints.load("models/trained")[0].state_dict(), alone)
    assert pd.read_csv("metrics/curves/semi_supervised.csv")["epoch"].tolist() == [1]
