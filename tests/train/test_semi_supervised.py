import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.train import curves, semi_supervised
from darkroom.train.config import TrainConfig
from darkroom.train.objective import Supervised
from darkroom.train.semi_supervised import FAIRNESS, SemiSupervised, fairness
from darkroom.train.setup import build_trainer, notices
from darkroom.train.unlabelled import PartlyLabelled
from tests.networks import OWN
from tests.trainings import CPU, MODEL, PATH, TRAIN, manifest, recipe, same, split, trainer

TRAIN_SPLIT, VAL, UNLABELLED = split(64, 1), split(64, 2), split(200, 3)
METHODS = ("pseudo_label", "fixmatch", "freematch")


def learning(method: str = "fixmatch", **changes: object) -> TrainConfig:
    """A small recipe; changes of its section semi_supervised are those with the name of a field there."""
    own = {name: changes.pop(name) for name in list(changes) if name in type(TRAIN.semi_supervised).model_fields}
    own = {"method": method, "threshold": 0.8, **own}
    return recipe(semi_supervised=TRAIN.semi_supervised.model_copy(update=own), **changes)


def objective(settings: TrainConfig, smoothing: float = 0.0) -> SemiSupervised:
    found = SemiSupervised(Supervised(smoothing), settings.semi_supervised, ("a", "b"), CPU)
    found.before_step(0.0, None)
    return found


def batch(weak: list[list[float]], strong: list[list[float]]) -> PartlyLabelled:
    """One labelled input with the logits 0, 0, and unlabelled ones whose views have these logits."""
    return PartlyLabelled(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([weak]), torch.tensor([strong]))


def test_only_confident_predictions_become_labels():
    """Confidences 0.9 and 0.6: the first is the label of a strong view with the probabilities 1/4, 3/4."""
    found = objective(learning(weight=2.0))
    weak, strong = [[math.log(9), 0.0], [0.0, math.log(1.5)]], [[0.0, math.log(3)], [5.0, 0.0]]
    loss, correct = found.loss(nn.Identity(), batch(weak, strong))
    assert loss.item() == pytest.approx(math.log(2) + 2.0 * math.log(4) / 2)
    assert correct.item() == 1
    assert [total.tolist() for total in found.sums()[:3]] == [pytest.approx([1.3, 0.7]), [1.0, 1.0], [1.0, 0.0]]
    assert found.sums()[3].item() == pytest.approx(1.5)
    found.after_step()
    assert not any(total.any() for total in found.sums())


def test_the_highest_confidence_that_labels_teach_scales_the_threshold():
    found = objective(learning(threshold=0.9), smoothing=0.2)
    assert found.thresholds.by_class.tolist() == pytest.approx([0.81, 0.81])


def test_fairness_is_part_of_freematch():
    weak, strong = [[4.0, 0.0]] * 3, [[1.0, 0.0], [0.0, 2.0], [2.0, 1.0]]
    plain, _ = objective(learning("fixmatch", threshold=0.5)).loss(nn.Identity(), batch(weak, strong))
    fair, _ = objective(learning("freematch", threshold=0.5)).loss(nn.Identity(), batch(weak, strong))
    half = torch.full((2,), 0.5)
    expected = fairness(torch.tensor(strong).softmax(1), half, half)
    assert (fair - plain).item() == pytest.approx(FAIRNESS * expected.item(), abs=1e-6)


def test_fairness_of_a_toy_case_is_exact():
    """Probabilities (3/4, 1/4) and (1/4, 3/4): mean 1/2 each, predicted 1/2 each: relative means 1/2."""
    probabilities = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    expected, predicted = torch.tensor([0.6, 0.4]), torch.tensor([0.5, 0.5])
    assert fairness(probabilities, expected, predicted).item() == pytest.approx(math.log(0.5))
    assert fairness(probabilities[:0], expected, predicted).item() == 0


def test_the_weight_rises_linearly():
    found = objective(learning(weight=2.0, ramp_up=0.4))
    weights = []
    for progress in (0.0, 0.1, 0.4, 0.9):
        found.before_step(progress, None)
        weights.append(found.weight)
    assert weights == [0.0, pytest.approx(0.5), 2.0, 2.0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", OWN)
def test_every_network_learns_with_every_method(name: str, method: str):
    run = trainer(learning(method, epochs=1.0), name)
    (record,) = run.epochs()
    assert np.isfinite(record.batch_loss) and 0 <= record.objective["used"] <= 1


def test_unlabelled_examples_replace_labels():
    """Of 8 labelled images, half of the errors or fewer remain with 400 unlabelled ones."""
    few, more = split(8, 1), split(400, 3)
    accuracies = []
    for method in ("none", "fixmatch"):
        settings = learning(method, epochs=4.0, batch_size=8, min_steps=100, lr=0.003)
        model = MODEL.model_copy(update={"name": "sprint"})
        run = build_trainer(0, model, settings, manifest(few), few, split(200, 2), unlabelled=more)
        accuracies.append(list(run.epochs())[-1].val_accuracy)
    assert 1 - accuracies[1] <= (1 - accuracies[0]) / 2 + 0.01


@pytest.mark.parametrize("name", ["cnn", "sprint", "vit", "lstm"])
def test_without_weight_the_gradient_is_that_of_the_labels_alone(name: str):
    """In evaluation mode: in training mode batch norm sees the unlabelled inputs too."""
    gradients = []
    for settings in (recipe(), learning(weight=0.0)):
        run = trainer(settings, name)
        run.network.eval()
        run.objective.before_step(0.0, None)
        run.objective.loss(run.network, next(run.batches.epoch(0, 0, 1)))[0].backward()
        gradients.append([weight.grad for weight in run.network.parameters() if weight.grad is not None])
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_parts_of_a_batch_give_the_gradient_of_the_whole(method: str):
    """But for fairness, which each part computes of its own examples."""
    gradients = []
    for parts in (1, 4):
        run = trainer(learning(method), "cnn")
        run.objective.before_step(0.0, None)
        batch = next(run.batches.epoch(0, 0, 1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(semi_supervised, "FAIRNESS", 0.0)
            for part in batch.split(parts):
                (run.objective.loss(run.network, part)[0] * len(part.inputs) / len(batch.inputs)).backward()
        gradients.append([*(weight.grad for weight in run.network.parameters()), *run.objective.sums()])
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema_decay": 0.9, "pseudo_labels_from": "ema"},
        {"precision": "bf16", "ramp_up": 0.5},
        {"grad_accumulation": 2, "checkpoint_steps": 3},
    ],
)
def test_a_restored_training_ends_with_the_same_bits(changes: dict):
    precision = changes.get("precision", "fp32")
    settings = learning("freematch", epochs=3.0, **changes)
    whole, resumed = (trainer(settings, "sprint", precision=precision) for _ in range(2))
    states = []

    def save() -> None:
        tensors, values = whole.state()
        states.append(({name: tensor.clone() for name, tensor in tensors.items()}, values))

    records = list(whole.epochs(save))
    tensors, values = states[len(states) // 2]
    resumed.restore(tensors, values)
    assert list(resumed.epochs())[-1].objective == records[-1].objective
    assert same(resumed.network.state_dict(), whole.network.state_dict())
    assert same(resumed.objective.state(), whole.objective.state())


def test_saved_states_are_copies(tmp_path: Path):
    run = trainer(learning("freematch"), "sprint")
    epochs = run.epochs()
    next(epochs)
    before = {name: tensor.clone() for name, tensor in run.objective.state().items()}
    other = trainer(learning("freematch"), "sprint")
    other.restore(*run.state())
    list(epochs)
    assert same(other.objective.state(), before)


def test_running_statistics_are_those_of_the_weak_views():
    run = trainer(learning(), "sprint")
    run.network.train()
    part = next(run.batches.epoch(0, 0, 1))
    run.objective.before_step(0.0, None)
    run.objective.loss(run.network, part)
    other = trainer(recipe(), "sprint").network.train()
    with torch.no_grad():
        other(part.weak.flatten(0, 1))
    assert same(run.network.state_dict(), other.state_dict())
    assert all(module.training for module in run.network.modules())


def test_the_moving_average_is_the_teacher_and_stays_as_it_is():
    run = trainer(learning(ema_decay=0.9, pseudo_labels_from="ema"), "sprint")
    teacher = run.average.module
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    run.objective.before_step(0.0, teacher)
    run.objective.loss(run.network, next(run.batches.epoch(0, 0, 1)))
    assert same(teacher.state_dict(), before)


def test_curves_show_what_becomes_of_the_unlabelled_examples(tmp_path: Path):
    run = trainer(learning(), "sprint")
    records = list(run.epochs())
    curves.write(tmp_path, records)
    table = pd.read_csv(tmp_path / "semi_supervised.csv")
    assert list(table.columns) == [
        *("epoch", "used", "threshold", "used_of_validation", "accuracy_of_used_validation"),
        *("fraction_of_left", "fraction_of_right"),
    ]
    assert table["epoch"].tolist() == [1, 2]
    assert table[["fraction_of_left", "fraction_of_right"]].sum(axis=1).tolist() == pytest.approx([1.0, 1.0])
    curves.write(tmp_path, list(trainer(recipe(epochs=1.0)).epochs()))
    assert not (tmp_path / "semi_supervised.csv").exists()


def test_the_accuracy_of_pseudo_labels_is_measured_on_validation():
    found = objective(learning(threshold=0.8))
    logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.1, 0.0]])
    found.observe(logits, torch.tensor([0, 1, 1, 1]))
    assert found.on_validation == {"used_of_validation": 0.75, "accuracy_of_used_validation": pytest.approx(2 / 3)}
    found.observe(torch.zeros(2, 2), torch.tensor([0, 1]))
    assert found.on_validation == {"used_of_validation": 0.0, "accuracy_of_used_validation": None}


@pytest.mark.parametrize(
    ("used", "fractions", "fact"),
    [(0.5, (0.5, 0.5), None), (0.5, (0.99, 0.01), None), (0.001, (0.5, 0.5), "threshold"), (0.5, (1, 0), "collapse")],
)
def test_a_collapse_of_the_pseudo_labels_is_a_warning(used: float, fractions: tuple, fact: str | None):
    labels = np.arange(8) % 4
    shares = (*fractions, 0, 0) if fact == "collapse" else (*(x / 2 for x in fractions), 0.25, 0.25)
    measured = {"used": used, **{f"fraction_of_{name}": share for name, share in zip("abcd", shares, strict=True)}}
    found = semi_supervised.warnings(measured, labels)
    assert len(found) == (fact is not None)
    assert not fact or fact in found[0]
    assert semi_supervised.warnings({}, labels) == []


def test_a_method_without_unlabelled_examples_is_refused():
    with pytest.raises(DarkroomError, match=r"semi_supervised\.method = 'fixmatch'.*unlabelled/.*none") as caught:
        build_trainer(0, MODEL, learning(), manifest(TRAIN_SPLIT), TRAIN_SPLIT, VAL)
    assert "\n" not in str(caught.value)


def test_unused_unlabelled_examples_are_a_hint():
    data = replace(manifest(TRAIN_SPLIT), counts={"train": 64, "val": 64, "test": 0, "unlabelled": 200})
    model = MODEL.model_copy(update={"name": "sprint"})
    run = build_trainer(0, model, recipe(), data, TRAIN_SPLIT, VAL, unlabelled=UNLABELLED)
    assert run.batches.unlabelled is None
    assert [line for line in notices(recipe(), run) if "200 examples without a label" in line]
    settings = learning(batch_size="auto", epochs=7.0, min_steps=100)
    run = build_trainer(0, model, settings, data, TRAIN_SPLIT, VAL, unlabelled=UNLABELLED)
    assert (run.settings.batch_size, run.batches.steps, run.settings.epochs) == (16, 5, 20.0)
    assert [line for line in notices(settings, run) if "200 unlabelled examples" in line]


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"tune": "head"}, "tune = head"),
        ({"distill": {"teacher": "big", "weight": 0.9, "temperature": 2.0}}, "distill.teacher = big"),
        ({"semi_supervised": {"pseudo_labels_from": "ema"}}, "ema_decay"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict, fact: str):
    values = params.read(PATH)["train"]
    own = {**values["semi_supervised"], "method": "fixmatch", **changes.pop("semi_supervised", {})}
    with pytest.raises(ValueError, match=fact):
        TrainConfig.model_validate({**values, **changes, "semi_supervised": own})
