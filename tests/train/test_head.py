import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from darkroom.core.arrays import Split
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import TEMPORARY
from darkroom.models import checkpoints
from darkroom.models.inference import predict
from darkroom.models.layers import last_layer
from darkroom.train import features, fingerprint, memory
from darkroom.train.head import HeadTrainer
from darkroom.train.objective import Supervised
from tests.networks import SMALL, small
from tests.trainings import CPU, manifest, recipe, same, split

TRAIN, VAL = split(64, 1), split(32, 2)
BUILT = {"family": "cnn", "arguments": {}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def head_trainer(name: str = "cnn", **changes: object) -> HeadTrainer:
    network = small(name, (10, 10, 1), 2)
    settings = recipe(tune="head", **changes)
    return HeadTrainer(network, Supervised(0.0), TRAIN, VAL, manifest(TRAIN), settings, 0, CPU, BUILT)


def compute(network: nn.Module, split_: Split = VAL, built: dict = BUILT, **changes: object) -> Split:
    return features.compute(network, built, split_, replace(manifest(TRAIN), **changes))


@pytest.mark.parametrize("name", [name for name in SMALL if name not in ("vit", "torchvision", "timm")])
def test_only_the_last_layer_changes_and_it_learns(name: str):
    trainer = head_trainer(name, epochs=8.0, lr=0.05)
    before = {key: tensor.clone() for key, tensor in trainer.whole.state_dict().items()}
    records = list(trainer.epochs())
    after = trainer.whole.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    head = {key for key, tensor in after.items() if tensor is not None and _is_head(trainer, tensor)}
    assert changed and changed <= head
    assert records[-1].train_loss < records[0].train_loss
    logits = predict(trainer.whole, VAL.inputs, trainer.data.mean, trainer.data.std)
    assert (logits.argmax(1) == VAL.labels).mean() == pytest.approx(records[-1].val_accuracy)


@pytest.mark.parametrize("architecture", ["test_convnext", "test_efficientnet", "test_resnet", "test_vit"])
def test_networks_of_timm_are_trained_saved_and_read_back(architecture: str):
    large = [replace(part, uncropped=part.uncropped.repeat(8, 1).repeat(8, 2)) for part in (TRAIN, VAL)]
    data, built = manifest(large[0]), {"family": "timm", "arguments": {"architecture": architecture}}
    network = small("timm", data.shape, 2, architecture=architecture)
    settings = recipe(tune="head", epochs=4.0, lr=0.05)
    trainer = HeadTrainer(network, Supervised(0.0), *large, data, settings, 0, CPU, built)
    records = list(trainer.epochs())
    assert records[-1].train_loss < records[0].train_loss
    description = checkpoints.describe("timm", built["arguments"], data, {"device": "cpu"})
    checkpoints.save("trained", trainer.whole, description)
    read, _ = checkpoints.load("trained")
    assert same(read.state_dict(), trainer.whole.state_dict())
    logits = predict(read, large[1].inputs, data.mean, data.std)
    assert (logits.argmax(1) == VAL.labels).mean() == pytest.approx(records[-1].val_accuracy)


class _Sum(nn.Module):
    """Its logits are the sum of two layers, or not finite."""

    def __init__(self, offset: float):
        super().__init__()
        self.offset, self.head, self.other = offset, nn.Linear(100, 2), nn.Linear(100, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        flat = inputs.flatten(1) + self.offset
        return self.head(flat) if self.offset else self.head(flat) + self.other(flat)


@pytest.mark.parametrize(("offset", "fact"), [(0.0, "last layer alone.*all or lora"), (float("nan"), "not finite")])
def test_a_network_whose_features_are_no_use_is_refused_with_the_reason(offset: float, fact: str):
    with pytest.raises(DarkroomError, match=fact):
        compute(_Sum(offset))


def _is_head(trainer: HeadTrainer, tensor: torch.Tensor) -> bool:
    return any(tensor.data_ptr() == own.data_ptr() for own in last_layer(trainer.whole).parameters())


def test_the_summary_is_that_of_the_whole_network():
    trainer = head_trainer()
    list(trainer.epochs())
    found = trainer.summary()
    assert found["parameters"] == sum(one.numel() for one in trainer.whole.parameters())
    assert found["trainable_parameters"] == sum(one.numel() for one in last_layer(trainer.whole).parameters())
    assert found["flops_per_image"] > 2 * found["trainable_parameters"]
    assert trainer.costs()["feature_seconds"] >= 0
    assert trainer.data.shape == (10, 10, 1)


def test_features_are_computed_once(monkeypatch: pytest.MonkeyPatch):
    first = head_trainer()
    list(first.epochs())
    monkeypatch.setattr(features, "predict", lambda *_: pytest.fail("computed again"))
    again = head_trainer()
    list(again.epochs())
    assert same(first.whole.state_dict(), again.whole.state_dict())


def test_another_seed_and_number_of_classes_need_no_other_features(monkeypatch: pytest.MonkeyPatch):
    """Only the last layer is drawn by the seed if the others are pretrained."""
    network = small("cnn", (10, 10, 1), 2)
    compute(network)
    network.head = nn.Linear(network.head.in_features, 3)
    monkeypatch.setattr(features, "predict", lambda *_: pytest.fail("computed again"))
    compute(network)


@pytest.mark.parametrize(
    "change",
    [
        lambda network, _: compute(small("cnn", (10, 10, 1), 2, seed=1)),
        lambda network, _: compute(network, built={"family": "sprint", "arguments": {}}),
        lambda network, _: compute(network, built={"family": "cnn", "arguments": {"dropout": 0.5}}),
        lambda network, _: compute(network, mean=(0.4,)),
        lambda network, _: compute(network, std=(0.4,)),
        lambda network, _: compute(network, sha256="1" * 64),
        lambda network, _: compute(network, TRAIN),
        lambda network, patch: (patch.setattr(fingerprint, "version", lambda _: "0"), compute(network)),
        lambda network, patch: (patch.setattr(fingerprint, "_files", lambda _: []), compute(network)),
        lambda network, patch: (patch.setattr(torch, "get_num_threads", lambda: 99), compute(network)),
    ],
)
def test_features_are_computed_again_after_a_change(change: Callable, monkeypatch: pytest.MonkeyPatch):
    network = small("cnn", (10, 10, 1), 2)
    compute(network)
    change(network, monkeypatch)
    assert len(list(features.FOLDER.iterdir())) == 2


def test_the_key_depends_on_the_code_of_the_networks_not_on_that_of_the_training(monkeypatch: pytest.MonkeyPatch):
    network = small("cnn", (10, 10, 1), 2)
    compute(network)
    read = Path.read_bytes

    def edit(part: str) -> None:
        monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (part in path.as_posix()))

    edit("darkroom/train/trainer.py")
    compute(network)
    assert len(list(features.FOLDER.iterdir())) == 1
    edit("darkroom/models/cnn.py")
    compute(network)
    assert len(list(features.FOLDER.iterdir())) == 2


def test_blocks_and_memory_do_not_change_the_training(monkeypatch: pytest.MonkeyPatch):
    """Features that do not fit in memory are written block by block and read from their file batch by batch."""
    first = head_trainer()
    list(first.epochs())
    whole = {path.name: path.read_bytes() for path in features.FOLDER.iterdir()}
    shutil.rmtree(features.FOLDER)
    monkeypatch.setattr(features, "_BLOCK", 7)
    monkeypatch.setattr(memory, "free", lambda device: 0)
    again = head_trainer()
    assert again.batches.loader.in_memory is None and isinstance(again.val.inputs, np.memmap)
    list(again.epochs())
    assert {path.name: path.read_bytes() for path in features.FOLDER.iterdir()}.keys() == whole.keys()
    for name, parameter in last_layer(again.whole).named_parameters():
        assert torch.allclose(parameter, last_layer(first.whole).get_parameter(name), atol=1e-6)


def test_what_a_killed_training_left_is_removed():
    leftover = features.FOLDER / f"{TEMPORARY}0123.npy-xyz"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    compute(small("cnn", (10, 10, 1), 2))
    assert not leftover.exists()


def test_a_damaged_file_of_features_is_computed_again():
    first = head_trainer()
    list(first.epochs())
    for path in features.FOLDER.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    again = head_trainer()
    list(again.epochs())
    assert same(first.whole.state_dict(), again.whole.state_dict())


def test_few_files_are_kept():
    for seed in range(4):
        network = small("cnn", (10, 10, 1), 2, seed=seed)
        for split_ in (TRAIN, VAL):
            compute(network, split_)
    assert len(list(features.FOLDER.iterdir())) == features.KEPT


def test_files_in_use_are_kept_longest():
    oldest, used, new = (small("cnn", (10, 10, 1), 2, seed=seed) for seed in (0, 1, 2))
    compute(used)
    file = next(features.FOLDER.iterdir())
    for split_ in (TRAIN, VAL):
        compute(oldest, split_)
    for other in features.FOLDER.iterdir():
        os.utime(other, (0, 0))  # some file systems have the time in seconds
    compute(used)
    for split_ in (TRAIN, VAL):
        compute(new, split_)
    assert file.exists() and len(list(features.FOLDER.iterdir())) == features.KEPT


def test_features_give_the_networks_own_logits():
    network = small("resnet", (10, 10, 1), 2).eval()
    found = compute(network)
    with torch.no_grad():
        logits = network.head(torch.from_numpy(np.array(found.inputs))).numpy()
    assert np.allclose(logits, predict(network, VAL.inputs, manifest(TRAIN).mean, manifest(TRAIN).std), atol=1e-6)


class _Scaled(nn.Module):
    """A network whose last layer is not its `head`."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(100, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return 2 * self.head(inputs.flatten(1))


def test_a_network_that_does_not_end_in_its_head_is_refused():
    with pytest.raises(DarkroomError, match=r"train\.tune"):
        compute(_Scaled())
