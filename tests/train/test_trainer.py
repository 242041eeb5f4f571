import math
from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.core import params
from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.models.inference import predict
from darkroom.models.registry import FAMILIES, build
from darkroom.preprocess.packing import channel_statistics, count_levels
from darkroom.train import config
from darkroom.train.trainer import Record, Trainer

TRAIN = params.load("train", path=Path(__file__).parents[2] / "params.yaml")
CPU = torch.device("cpu")
SMALL = {
    "cnn": {"width": 4, "hidden": 8},
    "wide_resnet": {"depth": 10, "width": 1},
    "vit": {"width": 8, "depth": 1, "heads": 2},
}


def recipe(**changes: object) -> config.Train:
    """The project's recipe, made small, plain and repeatable."""
    plain = {
        "epochs": 2.0,
        "batch_size": 32,
        "optimizer": "adamw",
        "lr": 0.01,
        "warmup_fraction": 0.0,
        "label_smoothing": 0.0,
        "weights": "last",
    }
    augment = TRAIN.augment.model_copy(update={"flip": "none", "shift": 0, "erase": 0.0})
    return TRAIN.model_copy(update={**plain, "augment": augment, **changes})


def split(n: int, seed: int) -> Split:
    """Noise of 10 x 10 with a bright patch whose side, left or right, is the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(2, size=n)
    images = random.integers(100, size=(n, 10, 10, 1), dtype=np.uint8)
    images[labels == 0, 3:7, 1:4] += 150
    images[labels == 1, 3:7, 6:9] += 150
    return Split(images, labels, np.array([f"{seed}/{number}" for number in range(n)]))


def trainer(settings: config.Train, name: str = "cnn", n: int = 256, seed: int = 0, precision: str = "fp32") -> Trainer:
    train, val = split(n, 1), split(64, 2)
    mean, std = channel_statistics(count_levels(train.inputs))
    counts = {"train": n, "val": 64, "test": 0}
    manifest = Manifest(
        "toy", "Toy", "CC0", ("left", "right"), (10, 10, 1), mean, std, counts, Augmentation(flip=False, shift=0), "0"
    )
    torch.manual_seed(seed)
    return Trainer(
        build(name, {"dropout": 0.0, **SMALL.get(name, {"width": 4})}, (10, 10, 1), 2),
        train,
        val,
        manifest,
        settings,
        seed,
        CPU,
        precision,
    )


def trained(settings: config.Train, **arguments: object) -> dict[str, torch.Tensor]:
    run = trainer(settings, **arguments)
    list(run.epochs())
    return run.network.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_model_learns_and_repeats_to_the_bit(name: str, precision: str):
    run = trainer(recipe(epochs=3.0), name, precision=precision)
    records = list(run.epochs())
    assert records[-1].val_accuracy > 0.9
    assert [record.epoch for record in records] == [1, 2, 3]
    assert same(run.network.state_dict(), trained(recipe(epochs=3.0), name=name, precision=precision))


def test_another_seed_gives_other_weights():
    assert not same(trained(recipe(), seed=0), trained(recipe(), seed=1))


@pytest.mark.parametrize("parts", [2, 4, 32, 1000])  # of a batch's pictures at most one each
def test_accumulation_equals_the_large_batch(parts: int):
    whole, accumulated = trained(recipe(optimizer="sgd")), trained(recipe(optimizer="sgd", grad_accumulation=parts))
    assert all(torch.allclose(whole[name], accumulated[name], atol=1e-5) for name in whole)


def test_the_last_epoch_may_be_a_part(monkeypatch: pytest.MonkeyPatch):
    run = trainer(recipe(epochs=1.5))
    take, rates = run.optimisers.step, []
    monkeypatch.setattr(run.optimisers, "step", lambda lr, scaler: (rates.append(lr), take(lr, scaler)))
    assert len(list(run.epochs())) == 2
    assert len(rates) == 8 + 4
    assert rates == sorted(rates, reverse=True)
    assert run.rate(12) == 0


def test_best_weights_are_those_of_the_best_epoch():
    run = trainer(recipe(weights="best", epochs=4.0, lr=0.1, optimizer="sgd"))
    records = list(run.epochs())
    best = max(records, key=lambda record: record.val_accuracy)
    val = split(64, 2)
    logits = predict(run.network, val.inputs, run.manifest.mean, run.manifest.std)
    assert (logits.argmax(1) == val.labels).mean() == best.val_accuracy == run.summary()["val_accuracy"]
    assert run.summary()["best_epoch"] == best.epoch


def test_early_stopping_waits_for_so_many_epochs():
    run = trainer(recipe(lr=1e-12, epochs=10.0, early_stopping=2))
    assert len(list(run.epochs())) == 3
    assert run.summary()["epochs"] == 3
    assert run.summary()["best_epoch"] == 1


def test_ema_is_the_average_computed_directly(monkeypatch: pytest.MonkeyPatch):
    run = trainer(recipe(ema_decay=0.5, epochs=1.0))
    seen = []
    learn = Trainer._learn
    monkeypatch.setattr(
        Trainer,
        "_learn",
        lambda self, *arguments: (learn(self, *arguments), seen.append(self.network.head.weight.detach().clone())),
    )
    list(run.epochs())
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.5 * expected + 0.5 * weight
    assert torch.allclose(run.network.head.weight, expected, atol=1e-6)
    assert not torch.allclose(run.network.head.weight, seen[-1], atol=1e-6)


def test_clipping_bounds_the_gradient(monkeypatch: pytest.MonkeyPatch):
    run = trainer(recipe(grad_clip_norm=1e-3, epochs=1.0))
    norms = []
    take = run.optimisers.step
    monkeypatch.setattr(
        run.optimisers,
        "step",
        lambda lr, scaler: (
            norms.append(math.hypot(*(p.grad.norm().item() for p in run.optimisers.parameters))),
            take(lr, scaler),
        ),
    )
    list(run.epochs())
    assert max(norms) <= 1.001e-3


def test_a_diverging_loss_stops_with_advice():
    with pytest.raises(
        DarkroomError,
        match=r"The training diverged: the loss was .* in epoch 1, step \d+ of 8, at a learning rate of 1e\+03\.",
    ):
        list(trainer(recipe(lr=1000.0, optimizer="sgd", schedule="constant")).epochs())


def test_a_record_tells_its_curves():
    record = Record(
        epoch=1, lr=0.1, train_loss=1.0, train_accuracy=0.5, val_loss=2.0, val_accuracy=0.25, seconds=3.0, layers={}
    )
    assert record.curves() == {
        "loss/train": 1.0,
        "loss/val": 2.0,
        "accuracy/train": 0.5,
        "accuracy/val": 0.25,
        "lr": 0.1,
    }
    assert "accuracy 50.00%; validation loss 2.0000, accuracy 25.00%" in str(record)
