import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import derive_seed
from darkroom.models.registry import build
from darkroom.train.objective import Supervised
from darkroom.train.setup import build_trainer, describe_training, notices
from darkroom.train.trainer import Trainer
from darkroom.weights import pretrained
from tests.trainings import CPU, MODEL, manifest, recipe, same, split
from tests.weights.test_pretrained import DESCRIBED

TRAIN, VAL = split(256, 1), split(64, 2)
SPRINT = MODEL.model_copy(
    update={"name": "sprint", "sprint": MODEL.sprint.model_copy(update={"channels": 4, "dropout": 0.1})}
)


def build_by_hand(seed: int, settings) -> Trainer:
    torch.manual_seed(derive_seed(seed, "weights"))
    network = build("sprint", {"channels": 4, "dropout": 0.1}, (10, 10, 1), 2)
    objective = Supervised(settings.label_smoothing)
    return Trainer(network, objective, TRAIN, VAL, manifest(TRAIN), settings, seed, CPU, "fp32")


def test_trainer_equals_one_that_is_built_by_hand():
    settings = recipe(label_smoothing=0.1)
    built, by_hand = build_trainer(5, SPRINT, settings, manifest(TRAIN), TRAIN, VAL), build_by_hand(5, settings)
    assert same(built.network.state_dict(), by_hand.network.state_dict())
    list(built.epochs())
    list(by_hand.epochs())
    assert same(built.network.state_dict(), by_hand.network.state_dict())
    assert torch.get_num_threads() == settings.threads


def test_random_numbers_drawn_before_do_not_matter():
    first = build_trainer(5, SPRINT, recipe(), manifest(TRAIN), TRAIN, VAL)
    torch.rand(3)
    assert same(
        first.network.state_dict(), build_trainer(5, SPRINT, recipe(), manifest(TRAIN), TRAIN, VAL).network.state_dict()
    )


def test_pretrained_weights_are_loaded_and_their_stem_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    given = build("sprint", {"channels": 4}, (10, 10, 1), 2).state_dict()
    weights = replace(DESCRIBED, family="sprint")
    pretrained.write(pretrained.FOLDER, weights, save(given))
    model = SPRINT.model_copy(update={"pretrained": "big"})
    built = build_trainer(5, model, recipe(), manifest(TRAIN), TRAIN, VAL)
    assert same(built.network.state_dict(), given)
    description = describe_training(5, model, built)
    assert description.params["pretrained"]["sha256"] == weights.sha256
    assert (description.mean, description.std) == (weights.mean, weights.std)


@pytest.mark.parametrize(
    ("changes", "batch_size", "epochs", "steps"),
    [({}, 32, 2.0, 16), ({"batch_size": "auto", "min_steps": 20}, 16, 2.0, 32), ({"min_steps": 30}, 32, 4.0, 32)],
)
def test_description_holds_all_that_determines_the_weights(changes: dict, batch_size: int, epochs: float, steps: int):
    data, settings = manifest(TRAIN), recipe(**changes)
    trainer = build_trainer(5, SPRINT, settings, data, TRAIN, VAL)
    description = describe_training(5, SPRINT, trainer)
    assert (description.name, description.arguments) == ("sprint", {"channels": 4, "dropout": 0.1})
    assert (description.data_sha256, description.shape) == (data.sha256, (10, 10, 1))
    assert description.params == {
        "seed": 5,
        "pretrained": None,
        "teacher": None,
        "train": settings.model_dump(exclude={"sampled_items"}) | {"batch_size": batch_size, "epochs": epochs},
        "steps": steps,
        "device": "cpu",
        "precision": "fp32",
    }


def notices_of(**changes: object) -> list[str]:
    settings = recipe(**changes)
    return list(notices(settings, build_trainer(5, SPRINT, settings, manifest(TRAIN), TRAIN, VAL)))


def test_notice_tells_batch_size_epochs_and_steps():
    assert notices_of(epochs=25.5) == ["batches of 32, 25.5 epochs of 8 steps: 204 steps"]
    (notice,) = notices_of(batch_size="auto", min_steps=256, epochs=20.0)
    assert notice == "batches of 16 (train.batch_size = auto), 20 epochs of 16 steps: 320 steps"


def test_notice_of_more_epochs_names_both_numbers_and_the_parameters():
    _, notice = notices_of(min_steps=250)
    assert re.search(r"train\.epochs = 2 .* 32\b.*train\.min_steps = 250\b", notice)


@pytest.mark.parametrize(
    ("epochs", "batch_size", "steps"), [(24.9, 32, 199), (2.0, 32, 16), (0.1, 256, 1), (1.01, 32, 9)]
)
def test_notice_of_few_steps_names_their_number_and_the_parameter(epochs: float, batch_size: int, steps: int):
    first, hint = notices_of(epochs=epochs, batch_size=batch_size)
    assert re.search(rf": {steps} steps?$", first)
    assert re.search(rf"\b{steps} steps?\b.*train\.min_steps", hint)


def test_notice_of_a_batch_size_above_the_number_of_training_examples():
    _, notice = notices_of(epochs=200.0, batch_size=512)
    assert re.search(r"train\.batch_size = 512\b.*\b256\b", notice)


def test_notices_name_layers_that_the_pretrained_weights_leave_at_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    given = build("torchvision", {"architecture": "shufflenet_v2_x0_5"}, (64, 64, 3), 5)
    weights = replace(DESCRIBED, family="torchvision", image_size=10, interpolation="bilinear", resize="stretch")
    pretrained.write(pretrained.FOLDER, weights, save(given.state_dict()))
    network = MODEL.torchvision.model_copy(update={"architecture": "shufflenet_v2_x0_5"})
    model = MODEL.model_copy(update={"name": "torchvision", "pretrained": "big", "torchvision": network})
    trainer = build_trainer(5, model, recipe(epochs=30.0), manifest(TRAIN), TRAIN, VAL)
    (line,) = list(notices(recipe(epochs=30.0), trainer))[1:]
    assert line.endswith(": conv1.0")  # it takes grey images instead of colours


def test_unavailable_device_is_rejected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DarkroomError, match=r"train\.device = 'cuda'"):
        build_trainer(5, SPRINT, recipe(device="cuda"), manifest(TRAIN), TRAIN, VAL)
