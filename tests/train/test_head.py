from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.core.errors import DarkroomError
from darkroom.models.inference import predict
from darkroom.models.layers import last_layer
from darkroom.train import features
from darkroom.train.head import HeadTrainer
from darkroom.train.objective import Supervised
from tests.networks import SMALL, small
from tests.trainings import CPU, manifest, recipe, same, split

TRAIN, VAL = split(64, 1), split(32, 2)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def head_trainer(name: str = "cnn", **changes: object) -> HeadTrainer:
    network = small(name, (10, 10, 1), 2)
    settings = recipe(tune="head", **changes)
    return HeadTrainer(network, Supervised(0.0), TRAIN, VAL, manifest(TRAIN), settings, 0, CPU)


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
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        features.compute(small("cnn", (10, 10, 1), 2, seed=1), VAL, (0.5,), (0.5,), "0" * 64)


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
            features.compute(network, split_, (0.5,), (0.5,), "0" * 64)
    assert len(list(features.FOLDER.iterdir())) == features.KEPT


def test_features_give_the_networks_own_logits():
    network = small("resnet", (10, 10, 1), 2).eval()
    found = features.compute(network, VAL, (0.5,), (0.5,), "0" * 64)
    with torch.no_grad():
        logits = network.head(torch.from_numpy(found.inputs)).numpy()
    assert np.allclose(logits, predict(network, VAL.inputs, (0.5,), (0.5,)), atol=1e-6)


class _Scaled(torch.nn.Module):
    """A network whose last layer is not its `head`."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(100, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return 2 * self.head(inputs.flatten(1))


def test_a_network_that_does_not_end_in_its_head_is_refused():
    with pytest.raises(DarkroomError, match=r"train\.tune"):
        features.compute(_Scaled(), VAL, (0.5,), (0.5,), "0" * 64)
