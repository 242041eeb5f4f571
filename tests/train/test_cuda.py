"""The training engine on a CUDA GPU."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import dropout

from darkroom.models import hardware
from darkroom.models.inference import predict
from darkroom.models.layers import last_layer_name
from darkroom.teachers.ensemble import Ensemble
from darkroom.train import cuda_graphs, flops, loading
from darkroom.train.batches import Batches
from darkroom.train.cuda_graphs import Captured
from darkroom.train.distillation import Distillation
from darkroom.train.objective import Supervised
from darkroom.train.resume import Resume
from darkroom.train.setup import build_trainer
from darkroom.train.trainer import Trainer
from tests.networks import OWN, small
from tests.train.test_resume import AUGMENTED, described, kill_after
from tests.trainings import CPU, MODEL, NO_AUGMENTATION, TRAIN, manifest, recipe, same, split, trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

CUDA = torch.device("cuda")
MOVED = NO_AUGMENTATION.model_copy(update={"shift": 1, "random_erasing": 0.2})  # a flip would change the class
EXAMPLES, VAL = split(256, 1), split(64, 2)
FREEMATCH = TRAIN.semi_supervised.model_copy(update={"method": "freematch", "threshold": 0.8})
EMA = {"ema_decay": 0.5, "semi_supervised": FREEMATCH.model_copy(update={"pseudo_labels_from": "ema"})}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hardware.choose_device("cuda")  # as the stage does: cuDNN becomes deterministic
    monkeypatch.chdir(tmp_path)


def finished(run: Trainer) -> Trainer:
    list(run.epochs())
    return run


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_network_learns_and_is_reproducible_bit_for_bit(name: str, precision: str):
    settings = recipe(epochs=3.0, augment=MOVED)
    first, second = (finished(trainer(settings, name, precision=precision, device=CUDA)) for _ in range(2))
    assert first.records[-1].val_accuracy > 0.8
    assert same(first.network.state_dict(), second.network.state_dict())


@pytest.mark.parametrize(
    ("changes", "name", "precision"),
    [
        ({"optimizer": "muon"}, "resnet", "bf16"),
        ({"optimizer": "muon", "ema_decay": 0.9, "keep_weights": "best", "grad_accumulation": 2}, "sprint", "fp32"),
        ({"optimizer": "sgd", "grad_clip_norm": 1.0, "lr": 0.05}, "wide_resnet", "fp16"),
        ({"optimizer": "adamw", "semi_supervised": FREEMATCH, "ema_decay": 0.9}, "sprint", "bf16"),
    ],
)
@pytest.mark.parametrize("saves", [1, 4])
def test_killed_training_resumes_and_ends_identical_bit_for_bit(changes: dict, name: str, precision: str, saves: int):
    settings = recipe(**{"epochs": 2.5, "checkpoint_steps": 3, "augment": AUGMENTED, **changes})
    built = {"name": name, "precision": precision, "device": CUDA, "dropout": 0.1}
    whole, state = finished(trainer(settings, **built)), Resume(described(device="cuda"))
    kill_after(saves, trainer(settings, **built), state)
    resumed = trainer(settings, **built)
    assert state.restore(resumed)
    list(resumed.epochs())
    assert same(whole.network.state_dict(), resumed.network.state_dict())
    assert [replace(record, seconds=0) for record in whole.records] == [
        replace(record, seconds=0) for record in resumed.records
    ]


@pytest.mark.parametrize("name", ["sprint", "resnet", "wide_resnet", "vit"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_captured_training_is_the_same_bit_for_bit(name: str, precision: str):
    """Batches of 28 and 29 examples, dropout, and mixed images, whose targets are probabilities."""
    augment = MOVED.model_copy(update={"mixup": 0.2})
    settings = recipe(epochs=2.5, augment=augment, optimizer="muon", freeze_epochs=0.5, batch_size=31)
    runs = [trainer(settings, name, precision=precision, device=CUDA, dropout=0.2) for _ in range(2)]
    runs[1].captured, runs[1].optimisers.members[0].captured.is_capturable = None, False
    for run in runs:
        finished(run)
    assert len(runs[0].captured.graphs) >= 2 and runs[0].optimisers.members[0].captured.graphs
    assert not runs[1].optimisers.members[0].captured.graphs
    assert same(runs[0].network.state_dict(), runs[1].network.state_dict())
    assert [record.batch_loss for record in runs[0].records] == [record.batch_loss for record in runs[1].records]


def test_a_taught_training_is_captured_and_is_the_same():
    teacher = finished(trainer(recipe(), "cnn", device=CUDA)).network
    taught = Distillation(Supervised(0.0), Ensemble([teacher]), weight=0.9, temperature=2.0)
    runs = [trainer(recipe(epochs=2.0), "sprint", objective=taught, precision="bf16", device=CUDA) for _ in range(2)]
    runs[1].captured = None
    assert same(*(finished(run).network.state_dict() for run in runs))
    assert runs[0].captured.graphs


@pytest.mark.parametrize(
    "changes",
    [{"grad_accumulation": 2}, {"tune": "lora"}, {"semi_supervised": FREEMATCH}],
    ids=["accumulation", "lora", "unlabelled"],
)
def test_other_trainings_are_not_captured(changes: dict):
    assert trainer(recipe(**changes), "sprint", device=CUDA).captured is None
    assert trainer(recipe(), "lstm", device=CUDA).captured is None
    assert trainer(recipe(), "sprint", device=CUDA).captured is not None


def test_a_captured_training_with_an_average_and_clipped_gradients_is_the_same_bit_for_bit():
    settings = recipe(epochs=3.0, optimizer="muon", ema_decay=0.9, grad_clip_norm=0.5, augment=MOVED)
    runs = [trainer(settings, "resnet", precision="bf16", device=CUDA) for _ in range(2)]
    runs[1].captured, runs[1].optimisers.members[0].captured.is_capturable = None, False
    assert same(*(finished(run).network.state_dict() for run in runs))


def test_what_waits_for_the_gpu_is_computed_as_usual():
    captured, one = Captured(), torch.full((2,), 2.0, device=CUDA)
    for _ in range(6):
        assert captured(lambda one: [one * one.sum().item()], one)[0].tolist() == [8.0, 8.0]
    assert not captured.is_capturable and not captured.graphs


def test_what_cannot_be_captured_is_computed_as_usual():
    def compute(one: torch.Tensor) -> list[torch.Tensor]:
        dropped = dropout(one, 0.5)
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError("not in a graph")
        return [dropped + 1]

    captured, one = Captured(), torch.ones(1000, device=CUDA)
    for _ in range(6):
        assert 1.8 < captured(compute, one)[0].mean() < 2.2
    assert not captured.is_capturable and not captured.graphs


def test_what_needs_much_memory_is_not_captured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda_graphs, "CALLS_IN_MEMORY", 1e9)
    run = finished(trainer(recipe(), "sprint", device=CUDA))
    assert not run.captured.graphs and not run.captured.is_capturable


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients_equal_those_of_the_whole_batch(parts: int):
    whole, accumulated = (trainer(recipe(grad_accumulation=number), device=CUDA) for number in (1, parts))
    (batch,) = whole.batches.epoch(0, 0, 1)
    gradients = []
    for run in (whole, accumulated):
        run.optimisers.clear_gradients = lambda: None
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            run._learn(batch, 0.1, 0)
        gradients.append({name: weight.grad for name, weight in run.network.named_parameters()})
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-5) for name in gradients[0])
    assert whole.correct == accumulated.correct


@pytest.mark.parametrize("changes", [{"semi_supervised": FREEMATCH}, EMA], ids=["network", "ema"])
@pytest.mark.parametrize("parts", [1, 2])
def test_unlabelled_examples_are_learned_from(changes: dict, parts: int):
    settings = recipe(epochs=6.0, grad_accumulation=parts, augment=MOVED, **changes)
    first, second = (finished(trainer(settings, "sprint", precision="bf16", device=CUDA)) for _ in range(2))
    assert first.records[-1].objective["used"] > 0.3
    assert first.records[-1].val_accuracy > 0.8
    assert same(first.network.state_dict(), second.network.state_dict())


def test_a_student_learns_from_its_teacher():
    teacher = finished(trainer(recipe(epochs=3.0), "cnn", device=CUDA)).network
    runs = []
    for _ in range(2):
        taught = Distillation(Supervised(0.0), Ensemble([teacher]), weight=1.0, temperature=2.0)
        runs.append(finished(trainer(recipe(epochs=3.0), "sprint", objective=taught, precision="bf16", device=CUDA)))
    assert runs[0].records[-1].val_accuracy > 0.8
    assert same(runs[0].network.state_dict(), runs[1].network.state_dict())


@pytest.mark.parametrize("name", OWN)
def test_predictions_equal_those_on_the_cpu(name: str):
    run = finished(trainer(recipe(), name))
    logits = [
        predict(run.network.to(device), VAL.inputs, run.manifest.mean, run.manifest.std) for device in (CPU, CUDA)
    ]
    np.testing.assert_allclose(logits[1], logits[0], rtol=1e-4, atol=1e-4)
    sure = np.ptp(logits[0], axis=1) > 1e-3  # two classes: else they are equal to rounding
    assert (logits[0].argmax(1) == logits[1].argmax(1))[sure].all()


@pytest.mark.parametrize("policy", ["none", "rand"])
def test_batches_equal_those_on_the_cpu(policy: str):
    augment = AUGMENTED.model_copy(update={"policy": policy, "min_crop_area": 0.5, "cutmix": 1.0, "color_jitter": 0.2})
    both = [Batches(EXAMPLES, manifest(EXAMPLES), augment, 64, 0, device) for device in (CPU, CUDA)]
    for ours, theirs in zip(*(batches.epoch(0, 0, 4) for batches in both), strict=True):
        assert theirs.inputs.is_cuda and theirs.targets.is_cuda
        differ = (ours.inputs - theirs.inputs.cpu()).abs() > 0.03  # a grey level, after normalisation
        assert differ.float().mean() < 0.05  # an operation may round a coordinate to another pixel
        assert torch.allclose(ours.targets, theirs.targets.cpu())


def test_inputs_that_do_not_fit_are_read_in_advance(monkeypatch: pytest.MonkeyPatch):
    held = Batches(EXAMPLES, manifest(EXAMPLES), AUGMENTED, 32, 0, CUDA)
    monkeypatch.setattr(loading, "MAX_MEMORY_FRACTION", 0.0)
    read = Batches(EXAMPLES, manifest(EXAMPLES), AUGMENTED, 32, 0, CUDA)
    assert held.loader.in_memory.is_cuda and read.loader.in_memory is None
    for ours, theirs in zip(held.epoch(0, 0, 8), read.epoch(0, 0, 8), strict=True):
        assert torch.equal(ours.inputs, theirs.inputs)


def test_the_gpu_and_its_precision_are_chosen_by_default():
    run = build_trainer(0, MODEL, recipe(device="auto", precision="auto"), manifest(EXAMPLES), EXAMPLES, VAL)
    assert (run.device.type, run.precision) == ("cuda", hardware.choose_precision("auto", CUDA))
    assert next(run.network.parameters()).is_cuda
    assert run.hardware().startswith(torch.cuda.get_device_name())
    list(run.epochs())
    assert run.costs().keys() == {"training_seconds", "images_per_second", "mfu"}
    assert flops.matrix_peak(CUDA, torch.float32, 256, 0.01) > 0


def test_frozen_weights_stay_as_they_are():
    run = trainer(recipe(freeze_epochs=2.0), "resnet", precision="bf16", device=CUDA)
    head = last_layer_name(run.network)
    before = {name: weight.detach().clone() for name, weight in run.network.named_parameters()}
    finished(run)
    assert all(
        torch.equal(weight, before[name]) != name.startswith(head) for name, weight in run.network.named_parameters()
    )


def test_initial_weights_are_those_of_the_cpu():
    ours, theirs = (trainer(recipe(), "sprint", device=device).network.state_dict() for device in (CPU, CUDA))
    assert same(ours, {name: tensor.cpu() for name, tensor in theirs.items()})
    assert small("sprint", (10, 10, 1), 2).head.weight.equal(theirs["head.weight"].cpu())
