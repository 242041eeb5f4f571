import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.models.config import ModelConfig
from darkroom.teachers import ensemble
from darkroom.teachers.ensemble import Ensemble
from darkroom.train import distillation
from darkroom.train.config import DistillConfig, TrainConfig
from darkroom.train.distillation import Distillation
from darkroom.train.objective import Batch, Supervised
from darkroom.train.setup import build_trainer, describe_training, notices
from darkroom.train.trainer import Trainer
from tests.teachers.keeping import put
from tests.trainings import CPU, MODEL, manifest, recipe, same, split, trainer

TRAIN, VAL = split(256, 1), split(64, 2)
MANIFEST = replace(manifest(TRAIN), test_sha256="1" * 64, test_examples_sha256="2" * 64)
SMALL: ModelConfig = MODEL.model_copy(
    update={"name": "cnn", "cnn": MODEL.cnn.model_copy(update={"channels": 4, "hidden_units": 8, "dropout": 0.2})}
)


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


class Fixed(nn.Module):
    """Answers with these logits (N, K), whatever the inputs."""

    def __init__(self, *logits: list[float]):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.logits


def distilled(weight: float, temperature: float = 2.0, name: str = "big", **changes: object) -> TrainConfig:
    return recipe(distill=DistillConfig(teacher=name, weight=weight, temperature=temperature), **changes)


def built(settings: TrainConfig, model: ModelConfig = SMALL) -> Trainer:
    return build_trainer(5, model, settings, MANIFEST, TRAIN, VAL)


def weights(settings: TrainConfig, model: ModelConfig = SMALL) -> dict[str, torch.Tensor]:
    run = built(settings, model)
    list(run.epochs())
    return run.network.state_dict()


def test_the_loss_of_a_toy_case_is_exact():
    """Teacher 3/4, 1/4; student 1/2, 1/2: KL = 3/4 ln 3/2 + 1/4 ln 1/2, and the cross-entropy is ln 2."""
    temperature, weight = 4.0, 0.75
    teacher = Ensemble([Fixed([temperature * math.log(3), 0.0])])
    objective = Distillation(Supervised(0.0), teacher, weight, temperature)
    student = Fixed([0.5, 0.5])
    loss, correct = objective.loss(student, Batch(torch.zeros(1, 1), torch.tensor([0])))
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert loss.item() == pytest.approx(0.25 * math.log(2) + 0.75 * 16 * kl, abs=1e-6)
    assert correct.item() == 1
    loss.backward()
    # d/dz of T^2 KL is T (q - p): Hinton et al., equation 2
    expected = 0.25 * torch.tensor([-0.5, 0.5]) + 0.75 * temperature * torch.tensor([-0.25, 0.25])
    assert torch.allclose(student.logits.grad, expected, atol=1e-6)
    assert teacher.members[0].logits.grad is None


def test_a_student_that_answers_as_its_teacher_has_no_loss():
    logits = [[3.0, -1.0, 0.5], [0.0, 10.0, 2.0]]
    objective = Distillation(Supervised(0.1), Ensemble([Fixed(*logits)]), 1.0, 3.0)
    loss, _ = objective.loss(Fixed(*logits), Batch(torch.zeros(2, 1), torch.tensor([0, 1])))
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_extreme_answers_have_a_finite_loss_and_gradient():
    objective = Distillation(Supervised(0.0), Ensemble([Fixed([1e4, -1e4]), Fixed([-1e4, 1e4])]), 0.9, 1.0)
    student = Fixed([1e4, -1e4])
    loss, _ = objective.loss(student, Batch(torch.zeros(1, 1), torch.tensor([0])))
    loss.backward()
    assert loss.isfinite() and student.logits.grad.isfinite().all()


def test_weight_0_equals_the_plain_training_bit_for_bit():
    put("big", MANIFEST)
    augment = recipe().augment.model_copy(update={"shift": 1, "cutmix": 1.0})
    plain = weights(recipe(augment=augment, label_smoothing=0.1))
    assert same(weights(distilled(0.0, augment=augment, label_smoothing=0.1)), plain)
    assert not same(weights(distilled(0.5, augment=augment, label_smoothing=0.1)), plain)


@pytest.mark.parametrize("tune", ["lora", "adalora"])
def test_adapters_learn_from_a_teacher_too(tune: str):
    put("big", MANIFEST)
    narrow = MODEL.vit.model_copy(update={"embed_dim": 16, "depth": 1, "heads": 2})
    model = MODEL.model_copy(update={"name": "vit", "vit": narrow})
    low = {"tune": tune, "lora": recipe().lora.model_copy(update={"rank": 2}), "epochs": 3.0}
    plain = weights(recipe(**low), model)
    assert same(weights(distilled(0.0, **low), model), plain)
    assert not same(weights(distilled(0.9, **low), model), plain)


@pytest.mark.parametrize("method", ["mixup", "cutmix"])
def test_teacher_and_student_see_the_same_inputs(method: str):
    put("big", MANIFEST)
    augment = recipe().augment.model_copy(update={"shift": 2, "flip": "random", method: 1.0})
    run = built(distilled(0.9, augment=augment, epochs=1.0))
    seen: dict[str, list[torch.Tensor]] = {"student": [], "teacher": []}

    def keep(name: str) -> Callable:
        return lambda _, arguments: seen[name].append(arguments[0].clone())

    run.network.register_forward_pre_hook(keep("student"))
    run.objective.teacher.members[0].network.register_forward_pre_hook(keep("teacher"))
    for batch in run.batches.epoch(0, 0, 3):
        run.objective.loss(run.network, batch)
    assert len(seen["student"]) == 3
    assert all(torch.equal(*pair) for pair in zip(seen["student"], seen["teacher"], strict=True))


def test_the_teacher_stays_as_it_is():
    teacher = put("big", MANIFEST, family="sprint")  # which has batch norm
    settings = distilled(0.9)
    run = built(settings)
    list(run.epochs())
    expected = ensemble.load(teacher.folder, teacher, MANIFEST).state_dict()
    assert same(run.objective.teacher.state_dict(), expected)
    assert not run.objective.teacher.training


def test_a_student_learns_what_only_its_teacher_knows():
    """The teacher names the class opposite to the label, with weight 1; the student follows it."""

    class Opposite(nn.Module):
        def __init__(self):
            super().__init__()
            self.size = nn.Parameter(torch.tensor(4.0))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            left, right = inputs[:, 0, 3:7, 1:4].mean((1, 2)), inputs[:, 0, 3:7, 6:9].mean((1, 2))
            return self.size * torch.stack([right - left, left - right], 1)

    objective = Distillation(Supervised(0.0), Ensemble([Opposite()]), 1.0, 1.0)
    run = trainer(recipe(epochs=4.0, lr=0.02), objective=objective)
    assert list(run.epochs())[-1].val_accuracy < 0.1


def test_parts_of_a_batch_give_the_gradient_of_the_whole():
    put("big", MANIFEST)
    gradients = []
    for parts in (1, 4):
        run = built(distilled(0.9, grad_accumulation=parts))
        batch = next(iter(run.batches.epoch(0, 0, 1)))
        run.network.eval()  # without dropout
        for part in batch.split(parts):
            (run.objective.loss(run.network, part)[0] * len(part.inputs) / len(batch.inputs)).backward()
        gradients.append([weight.grad for weight in run.network.parameters()])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9}, {"precision": "bf16"}, {"grad_accumulation": 2}])
def test_a_restored_training_ends_with_the_same_bits(changes: dict):
    put("big", MANIFEST, networks=2)
    settings = distilled(0.9, epochs=3.0, **changes)
    whole = built(settings)
    epochs = whole.epochs()
    next(epochs)
    tensors, values = whole.state()
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    list(epochs)
    resumed = built(settings)
    resumed.restore(tensors, values)
    list(resumed.epochs())
    assert same(resumed.network.state_dict(), whole.network.state_dict())


def test_the_description_has_the_teacher_so_another_one_starts_anew():
    put("big", MANIFEST), put("other", MANIFEST, networks=2)
    found = {}
    for name in ("big", "other", "none"):
        settings = distilled(0.9, name=name)
        found[name] = describe_training(5, SMALL, built(settings)).params["teacher"]
    assert found["none"] is None
    assert found["big"]["name"] == "big" and found["big"]["accuracy"] == 0.75
    assert [len(found[name]["networks"]) for name in ("big", "other")] == [1, 2]
    assert all(len(network["sha256"]) == 64 for network in found["other"]["networks"])


def test_a_notice_names_the_teacher():
    put("big", MANIFEST, networks=2)
    settings = distilled(0.9, epochs=25.0)
    lines = list(notices(settings, built(settings)))
    assert "teacher big: 2 networks (cnn), test accuracy 75.00%; 90% of the loss, at temperature 2" in lines


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"classes": ("right", "left")}, "other classes"),
        ({"test_examples_sha256": "3" * 64}, "another test split"),
        ({"test_sha256": "3" * 64}, "another test split"),
        ({"shape": (10, 10, 3), "mean": (0.5,) * 3, "std": (0.5,) * 3}, "1 channel"),
    ],
)
def test_a_student_of_other_data_is_refused(changes: dict, fact: str):
    put("big", MANIFEST)
    settings = distilled(0.9)
    with pytest.raises(DarkroomError, match=f"'big'.*{fact}") as caught:
        teacher = distillation.find(settings.distill)
        distillation.build(teacher, settings.distill, Supervised(0.0), replace(MANIFEST, **changes), CPU)
    assert "\n" not in str(caught.value)


def test_an_unknown_teacher_is_refused():
    with pytest.raises(DarkroomError, match=r"train\.distill\.teacher = 'big'"):
        built(distilled(0.9))


def test_the_features_of_a_head_have_no_images_for_a_teacher():
    values = {**recipe().model_dump(), "tune": "head", "distill": {"teacher": "big", "weight": 0.9, "temperature": 2.0}}
    with pytest.raises(ValueError, match=r"tune = head .* teacher"):
        TrainConfig.model_validate(values)
    TrainConfig.model_validate(values | {"tune": "lora"})
