import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from darkroom.core.arrays import Split
from darkroom.core.errors import DarkroomError
from darkroom.models.inference import predict
from darkroom.train.objective import Batch, Supervised
from darkroom.train.trainer import Record, Trainer
from tests.networks import OWN, small
from tests.trainings import CPU, NO_AUGMENTATION, manifest, recipe, same, split, trained, trainer


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_network_learns_and_is_reproducible_bit_for_bit(name: str, precision: str):
    run = trainer(recipe(epochs=3.0), name, precision=precision)
    records = list(run.epochs())
    assert records[-1].val_accuracy > 0.9
    assert [record.epoch for record in records] == [1, 2, 3]
    assert same(run.network.state_dict(), trained(recipe(epochs=3.0), name=name, precision=precision))


def test_another_seed_gives_other_weights():
    assert not same(trained(recipe(), seed=0), trained(recipe(), seed=1))


@pytest.mark.parametrize("parts", [2, 4, 32, 1000])  # at most one part per input
def test_accumulated_gradients_equal_those_of_the_whole_batch(parts: int):
    whole, accumulated = (trainer(recipe(grad_accumulation=number)) for number in (1, parts))
    (batch,) = whole.batches.epoch(0, 0, 1)
    gradients = []
    for run in (whole, accumulated):
        run.optimisers.clear_gradients = lambda: None
        run._learn(batch, 0.1, 0)
        gradients.append({name: weight.grad for name, weight in run.network.named_parameters()})
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-6) for name in gradients[0])
    assert torch.allclose(whole.losses[0], accumulated.losses[0], atol=1e-6)
    assert whole.correct == accumulated.correct


def test_training_with_accumulation_ends_as_without():
    whole, accumulated = trained(recipe(optimizer="sgd")), trained(recipe(optimizer="sgd", grad_accumulation=4))
    assert all(torch.allclose(whole[name], accumulated[name], atol=1e-5) for name in whole)


@pytest.mark.parametrize("shape", [(6, 2), (12,)])
def test_inputs_need_not_be_images(shape: tuple[int, ...]):
    random = np.random.default_rng(0)
    splits = []
    for n in (256, 64):
        labels = random.integers(2, size=n)
        inputs = random.integers(100, size=(n, *shape), dtype=np.uint8) + (100 * labels).astype(np.uint8).reshape(
            n, *(1 for _ in shape)
        )
        splits.append(Split(inputs, labels, np.arange(n).astype(str)))

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(12, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.head(inputs.flatten(1))

    run = Trainer(Linear(), Supervised(0.0), *splits, manifest(splits[0]), recipe(epochs=3.0), 0, CPU, "fp32")
    assert list(run.epochs())[-1].val_accuracy > 0.9
    assert run.summary()["flops_per_image"] == 2 * 12 * 2


def test_last_epoch_may_be_partial(monkeypatch: pytest.MonkeyPatch):
    run = trainer(recipe(epochs=1.5))
    take, rates = run.optimisers.step, []
    monkeypatch.setattr(run.optimisers, "step", lambda lr, scaler: (rates.append(lr), take(lr, scaler)))
    assert len(list(run.epochs())) == 2
    assert len(rates) == 8 + 4
    assert rates == sorted(rates, reverse=True)
    assert run.rate(12) == 0


def test_best_weights_are_those_of_the_best_epoch():
    run = trainer(recipe(keep_weights="best", epochs=4.0, lr=0.1, optimizer="sgd"))
    records = list(run.epochs())
    best = max(records, key=lambda record: (record.val_accuracy, -record.val_loss))
    val = split(64, 2)
    logits = predict(run.network, val.inputs, run.manifest.mean, run.manifest.std)
    assert (logits.argmax(1) == val.labels).mean() == best.val_accuracy == run.summary()["val_accuracy"]
    assert run.summary()["best_epoch"] == best.epoch


def predict_correctly(monkeypatch: pytest.MonkeyPatch, scales: Sequence[float]) -> None:
    """Let the validation of each epoch find all predictions correct if its scale is positive, else all incorrect.

    The larger the scale, the lower the loss.
    """
    left = iter(scales)
    measure = Trainer._measure

    def measured(
        self: Trainer, network: nn.Module, blocks: Iterable[np.ndarray], labels: np.ndarray, *observe: Callable
    ) -> tuple[float, float]:
        if labels is not self.val.labels:
            return measure(self, network, blocks, labels)
        scale = next(left)
        return math.log1p(math.exp(-scale)), float(scale > 0)

    monkeypatch.setattr(Trainer, "_measure", measured)


@pytest.mark.parametrize(
    ("scales", "best"), [((-1, 2, 4, 3), 3), ((1, 1, 1, 1), 1), ((1, -9, -1, 2), 4), ((-4, -1, -1, -2), 2)]
)
def test_best_of_epochs_with_equal_accuracy_has_the_lowest_loss(
    monkeypatch: pytest.MonkeyPatch, scales: Sequence[float], best: int
):
    predict_correctly(monkeypatch, scales)
    run = trainer(recipe(keep_weights="best", epochs=4.0))
    weights = [{name: tensor.clone() for name, tensor in run.network.state_dict().items()} for _ in run.epochs()]
    assert run.summary()["best_epoch"] == best
    assert run.summary()["val_loss"] == run.records[best - 1].val_loss
    assert same(run.network.state_dict(), weights[best - 1])


@pytest.mark.parametrize(
    ("scales", "epochs"), [((1, 2, 1.5, 1.9, 3, 3), 4), ((1, 2, 3, 4, 5, 6), 6), ((3, 3, 3, 3, 3, 3), 3)]
)
def test_early_stopping_counts_from_the_epoch_with_the_lowest_loss_of_equal_accuracy(
    monkeypatch: pytest.MonkeyPatch, scales: Sequence[float], epochs: int
):
    predict_correctly(monkeypatch, scales)
    run = trainer(recipe(epochs=6.0, early_stopping=2))
    assert len(list(run.epochs())) == epochs


def test_early_stopping_waits_for_the_given_number_of_epochs():
    run = trainer(recipe(lr=1e-12, epochs=10.0, early_stopping=2))
    assert len(list(run.epochs())) == 3
    assert run.summary()["epochs"] == 3
    assert run.summary()["best_epoch"] == 1


@pytest.mark.parametrize("changes", [{}, {"keep_weights": "best", "ema_decay": 0.9}])
def test_iteration_that_was_stopped_early_can_be_resumed_with_the_same_result(changes: dict):
    settings = recipe(epochs=3.0, **changes)
    run = trainer(settings)
    for record in run.epochs():
        if record.epoch == 2:
            break  # as a search does that prunes this trial
    assert [record.epoch for record in run.records] == [1, 2]
    assert run.summary()["epochs"] == 2
    assert [record.epoch for record in run.epochs()] == [1, 2, 3]
    assert same(run.network.state_dict(), trained(settings))


def test_training_that_was_stopped_early_does_not_affect_the_next():
    for _ in trainer(recipe()).epochs():
        break
    assert same(trained(recipe()), trained(recipe()))


def test_iterating_again_after_the_end_changes_nothing():
    run = trainer(recipe(keep_weights="best"))
    first = list(run.epochs())
    weights = {name: tensor.clone() for name, tensor in run.network.state_dict().items()}
    assert list(run.epochs()) == first
    assert same(run.network.state_dict(), weights)


def test_state_is_saved_after_every_epoch_and_every_so_many_steps():
    run = trainer(recipe(checkpoint_steps=3))
    steps = []
    list(run.epochs(lambda: steps.append((len(run.records), run.step))))
    assert steps == [(0, 3), (0, 6), (1, 0), (1, 3), (1, 6), (2, 0)]


def test_ema_equals_the_average_computed_directly(monkeypatch: pytest.MonkeyPatch):
    run = trainer(recipe(ema_decay=0.5, epochs=1.0))
    seen = []
    learn = Trainer._learn

    def learn_and_record(self: Trainer, batch: Batch, lr: float, epoch: int) -> None:
        learn(self, batch, lr, epoch)
        seen.append(self.network.head.weight.detach().clone())

    monkeypatch.setattr(Trainer, "_learn", learn_and_record)
    list(run.epochs())
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.5 * expected + 0.5 * weight
    assert torch.allclose(run.network.head.weight, expected, atol=1e-6)
    assert not torch.allclose(run.network.head.weight, seen[-1], atol=1e-6)


def test_clipping_bounds_the_gradient_norm(monkeypatch: pytest.MonkeyPatch):
    run = trainer(recipe(grad_clip_norm=1e-3, epochs=1.0))
    take, norms = run.optimisers.step, []

    def step(lr: float, scaler: torch.amp.GradScaler) -> None:
        norms.append(math.hypot(*(weight.grad.norm().item() for weight in run.optimisers.parameters)))
        take(lr, scaler)

    monkeypatch.setattr(run.optimisers, "step", step)
    list(run.epochs())
    assert max(norms) <= 1.001e-3


def test_diverging_training_stops_with_its_epoch_step_and_learning_rate():
    with pytest.raises(DarkroomError, match=r"diverged.* epoch 1, step \d+ of 8, .*1e\+03.*train\.lr"):
        list(trainer(recipe(lr=1000.0, optimizer="sgd", schedule="constant")).epochs())


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"batch_size": 1}, "train.batch_size = 1,"), ({"grad_accumulation": 32}, "train.grad_accumulation = 32 ")],
)
def test_batch_norm_of_one_example_is_refused(changes: dict, named: str, monkeypatch: pytest.MonkeyPatch):
    layers = {"flat": nn.Flatten(), "norm": nn.BatchNorm1d(100), "head": nn.Linear(100, 2)}
    monkeypatch.setattr("tests.trainings.small", lambda *_, **__: nn.Sequential(OrderedDict(layers)))
    with pytest.raises(DarkroomError, match=f"{re.escape(named)}.*train.processes = 1.*train.batch_norm = frozen"):
        list(trainer(recipe(**changes)).epochs())
    list(trainer(recipe(epochs=1 / 8, batch_norm="frozen", **changes)).epochs())


def test_hardware_names_threads_and_precision(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert trainer(recipe(precision="auto"), precision="bf16").hardware() == "2 CPU threads, bf16 (native on this CPU)"


def test_costs_are_positive_and_the_mfu_is_a_fraction_of_the_peak(monkeypatch: pytest.MonkeyPatch):
    run = trainer(recipe(epochs=1.0))
    list(run.epochs())
    monkeypatch.setattr("darkroom.train.flops.matrix_peak", lambda device, dtype: 1e6)
    costs = run.costs()
    assert list(costs) == ["training_seconds", "images_per_second", "mfu"]
    assert min(costs.values()) > 0


def test_record_gives_its_curves():
    curves = {
        "epoch": 1,
        "lr": 0.1,
        "train_loss": 1.0,
        "train_accuracy": 0.5,
        "batch_loss": 1.5,
        "batch_accuracy": 0.75,
        "val_loss": 2.0,
        "val_accuracy": 0.25,
    }
    record = Record(**curves, seconds=3.0, layers={})
    assert record.curves() == curves
    assert all(number in str(record) for number in ("1.0000", "50.00%", "2.0000", "25.00%", "3.0 s"))


ALL = NO_AUGMENTATION.model_copy(
    update={"flip": "random", "shift": 2, "random_erasing": 1.0, "min_crop_area": 0.5, "mixup": 0.4, "cutmix": 1.0}
)


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.5}, {"grad_accumulation": 4}])
def test_training_is_measured_as_validation_is(changes: dict):
    """The same examples as training and validation split have the same loss and accuracy, whatever the recipe."""
    train = split(256, 1)
    settings = recipe(augment=ALL, label_smoothing=0.2, **changes)
    network = small("sprint", (10, 10, 1), 2, dropout=0.5)
    run = Trainer(network, Supervised(0.2), train, train, manifest(train), settings, 0, CPU, "fp32")
    for record in run.epochs():
        assert (record.train_loss, record.train_accuracy) == pytest.approx((record.val_loss, record.val_accuracy))
        assert record.batch_loss != pytest.approx(record.train_loss, rel=0.001)
    assert run.summary()["train_loss"] == record.train_loss


def test_measured_training_examples_are_random_and_at_most_as_many_as_validation(monkeypatch: pytest.MonkeyPatch):
    run, other = trainer(recipe()), trainer(recipe(), seed=1)
    assert len(run.sample) == 64 and len(set(run.sample)) == 64
    assert np.array_equal(run.sample, trainer(recipe()).sample)
    assert not np.array_equal(run.sample, other.sample)
    assert run.sample.min() < 32 and run.sample.max() >= 224
    monkeypatch.setattr("darkroom.train.trainer.MAX_SAMPLE", 10)
    assert len(trainer(recipe()).sample) == 10


def test_measuring_changes_neither_weights_nor_random_numbers(monkeypatch: pytest.MonkeyPatch):
    settings = recipe(augment=ALL, keep_weights="best")
    weights = trained(settings, name="resnet")
    monkeypatch.setattr(Trainer, "_measure", lambda *_: (1.0, 0.5))
    assert same(weights, trained(settings, name="resnet"))
