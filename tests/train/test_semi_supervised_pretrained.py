"""Semi-supervised learning that starts from pretrained weights: fine-tuning, adapters, several processes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from darkroom.models.registry import build
from darkroom.train import launch, processes, sharding
from darkroom.train.config import TrainConfig
from darkroom.train.processes import ALONE, Processes
from darkroom.train.semi_supervised import SemiSupervised
from darkroom.train.setup import build_trainer
from darkroom.train.state import State
from darkroom.train.trainer import Trainer
from darkroom.weights import pretrained
from tests.train.test_semi_supervised import learning
from tests.trainings import MODEL, TRAIN, manifest, same, split
from tests.weights.test_pretrained import DESCRIBED

CHANNELS = {"resnet": {"channels": 4}, "vit": {"embed_dim": 8, "heads": 2}}
LORA = TRAIN.lora.model_copy(update={"rank": 2, "dropout": 0.1})
TUNES = ("all", "lora", "adalora")
EMA = {"ema_decay": 0.5, "pseudo_labels_from": "ema"}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def write_weights(name: str) -> dict[str, Tensor]:
    """Write pretrained weights of a small network for 5 other classes; return them."""
    torch.manual_seed(7)
    given = build(name, _arguments(name), (10, 10, 1), 5).state_dict()
    contents = save({key: tensor.contiguous() for key, tensor in given.items()})
    pretrained.write(pretrained.FOLDER, replace(DESCRIBED, family=name), contents)
    return given


def _arguments(name: str) -> dict[str, object]:
    return getattr(MODEL, name).model_copy(update=CHANNELS[name]).model_dump()


def finetuning(settings: TrainConfig, name: str = "resnet", group: Processes = ALONE) -> Trainer:
    """A trainer of the network whose pretrained weights were written, on 32 labelled and 160 unlabelled images."""
    few, more = split(32, 1), split(160, 3)
    network = getattr(MODEL, name).model_copy(update=CHANNELS[name])
    model = MODEL.model_copy(update={"name": name, "pretrained": "big", name: network})
    return build_trainer(0, model, settings, manifest(few), few, split(64, 2), group, more)


def copied(run: Trainer) -> State:
    """The state of a training as a file would keep it."""
    tensors, values = run.state()
    return {name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(values))


def settings_for(tune: str, method: str = "freematch", **changes: object) -> TrainConfig:
    return learning(method, tune=tune, lora=LORA, batch_size=8, threshold=0.6, **changes)


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("tune", TUNES)
def test_pretrained_weights_learn_from_unlabelled_examples_and_end_in_an_ordinary_network(tune: str, name: str):
    given = write_weights(name)
    run = finetuning(settings_for(tune, epochs=6.0, lr=0.02, keep_weights="best"), name)
    assert isinstance(run.objective, SemiSupervised)
    start = run.whole.state_dict()
    assert all(torch.equal(start[key], given[key]) for key in start if not key.startswith("head"))
    records = list(run.epochs())
    assert all(record.objective["used"] > 0 for record in records)
    assert records[-1].val_loss < records[0].val_loss
    ordinary = build(name, _arguments(name), (10, 10, 1), 2)
    ordinary.load_state_dict(run.whole.state_dict())
    kept = max(records, key=lambda record: (record.val_accuracy, -record.val_loss))
    found = run._measure(ordinary, lambda indices: run.val.inputs[indices], run.val.labels)
    assert found == pytest.approx((kept.val_loss, kept.val_accuracy), rel=1e-3)
    assert set(run.files) == (set() if tune == "all" else {"adapter.safetensors", "adapter_config.json"})


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze_epochs": 0.5, "layer_decay": 0.7, "batch_norm": "frozen"},
        {**EMA, "grad_accumulation": 2},
        {"ramp_up": 0.5, "optimizer": "muon"},
    ],
)
@pytest.mark.parametrize("tune", TUNES)
def test_a_resumed_fine_tuning_ends_with_the_same_bits(tune: str, changes: dict):
    write_weights("resnet")
    settings = settings_for(tune, epochs=3.0, checkpoint_steps=3, **changes)
    whole, resumed = finetuning(settings), finetuning(settings)
    states: list[State] = []
    records = list(whole.epochs(lambda: states.append(copied(whole))))
    resumed.restore(*states[len(states) // 2])
    assert list(resumed.epochs())[-1].objective == records[-1].objective
    assert same(resumed.whole.state_dict(), whole.whole.state_dict())
    assert same(resumed.objective.state(), whole.objective.state())
    assert resumed.files == whole.files


def test_frozen_batch_norms_keep_the_statistics_of_the_pretrained_weights():
    given = write_weights("resnet")
    run = finetuning(settings_for("all", batch_norm="frozen"))
    list(run.epochs())
    statistics = {name: tensor for name, tensor in run.whole.state_dict().items() if "running" in name}
    assert statistics and all(torch.equal(tensor, given[name]) for name, tensor in statistics.items())


def outcome(run: Trainer) -> dict[str, Tensor]:
    """The weights and the state of the objective after the rest of the training, contiguous."""
    list(run.epochs())
    found = {**run.whole.state_dict(), **{f"objective/{name}": one for name, one in run.objective.state().items()}}
    return {name: tensor.contiguous() for name, tensor in found.items() if tensor.device.type != "meta"}


PARALLEL = {f"{tune} {index}": (tune, more) for tune in TUNES for index, more in enumerate(({}, EMA))}
# Few steps by SGD: Muon, and predictions near the threshold, turn other rounding into another training.
SHARDED = {
    name: {"optimizer": "sgd", "epochs": 1.0, "checkpoint_steps": 3, **changes}
    for name, changes in {"plain": {}, "moving average": EMA, "frozen statistics": {"batch_norm": "frozen"}}.items()
}


def train_in_parts() -> dict:
    """Write the outcome of each training; a sharded one must end as one that resumes after 3 steps."""
    with processes.join(torch.device("cpu")) as group:
        for name, (tune, changes) in PARALLEL.items():
            found = outcome(finetuning(settings_for(tune, **changes), group=group))
            save_file(found, f"{name} {group.rank}")
        for name, changes in SHARDED.items():
            settings = settings_for("all", parallel="sharded", **changes)
            run, again, states = finetuning(settings, group=group), finetuning(settings, group=group), []
            assert any(sharding.is_sharded(parameter) for parameter in run.network.parameters())
            list(run.epochs(lambda run=run, states=states: states.append(copied(run))))
            again.restore(*states[0])
            found = outcome(run)
            assert same(outcome(again), found)
            if group.is_first:
                save_file(found, name)
    return {}


def test_two_processes_share_a_fine_tuning():
    """Data in parts: the same bits as two accumulated parts. Sharded: the same but for rounding."""
    write_weights("resnet")
    launch.start(train_in_parts, 2)
    for name, (tune, changes) in PARALLEL.items():
        alone = outcome(finetuning(settings_for(tune, grad_accumulation=2, **changes)))
        for rank in range(2):
            assert same(load_file(f"{name} {rank}"), alone), (name, rank)
    for name, changes in SHARDED.items():
        alone = outcome(finetuning(settings_for("all", grad_accumulation=2, **changes)))
        torch.testing.assert_close(load_file(name), alone, rtol=0, atol=1e-5)
