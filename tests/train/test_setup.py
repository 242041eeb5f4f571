import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import derive_seed
from darkroom.models.registry import build
from darkroom.train import initial_weights
from darkroom.train.objective import Supervised
from darkroom.train.setup import build_trainer, describe_training, notices
from darkroom.train.trainer import Trainer
from tests.trainings import CPU, MODEL, manifest, recipe, same, split

TRAIN, VAL = split(256, 1), split(64, 2)
SPRINT = MODEL.model_copy(
    update={"name": "sprint", "sprint": MODEL.sprint.model_copy(update={"channels": 4, "dropout": 0.1})}
)


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


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


def test_initial_weights_are_loaded_and_their_stem_is_kept(tmp_path: Path):
    path = tmp_path / "given.safetensors"
    given = build("sprint", {"channels": 4}, (10, 10, 1), 2).state_dict()
    save_file(given, path)
    model = SPRINT.model_copy(update={"initial_weights": str(path)})
    built = build_trainer(5, model, recipe(), manifest(TRAIN), TRAIN, VAL)
    assert same(built.network.state_dict(), given)
    description = describe_training(5, model, recipe(), manifest(TRAIN), built)
    assert description.params["initial_weights"] == initial_weights.digest(str(path)) != "none"


def test_description_holds_all_that_determines_the_weights():
    data, settings = manifest(TRAIN), recipe()
    trainer = build_trainer(5, SPRINT, settings, data, TRAIN, VAL)
    description = describe_training(5, SPRINT, settings, data, trainer)
    assert (description.name, description.arguments) == ("sprint", {"channels": 4, "dropout": 0.1})
    assert (description.data_sha256, description.shape) == (data.sha256, (10, 10, 1))
    assert description.params == {
        "seed": 5,
        "initial_weights": "none",
        "train": settings.model_dump(),
        "device": "cpu",
        "precision": "fp32",
    }


def notices_of(**changes: object) -> list[str]:
    settings = recipe(**changes)
    return list(notices(settings, build_trainer(5, SPRINT, settings, manifest(TRAIN), TRAIN, VAL)))


@pytest.mark.parametrize(
    ("epochs", "batch_size", "steps"), [(24.9, 32, 199), (2.0, 32, 16), (0.1, 256, 1), (1.01, 32, 9)]
)
def test_notice_of_few_steps_names_their_number_and_the_parameters(epochs: float, batch_size: int, steps: int):
    (notice,) = notices_of(epochs=epochs, batch_size=batch_size)
    assert re.search(rf"\b{steps} steps?\b.*train\.epochs.*train\.batch_size", notice)


def test_no_notice_of_a_training_of_many_steps():
    assert notices_of(epochs=25.0) == []


def test_notice_of_a_batch_size_above_the_number_of_training_examples():
    (notice,) = notices_of(epochs=200.0, batch_size=512)
    assert re.search(r"train\.batch_size = 512\b.*\b256\b", notice)


def test_unavailable_device_is_rejected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DarkroomError, match=r"train\.device = 'cuda'"):
        build_trainer(5, SPRINT, recipe(device="cuda"), manifest(TRAIN), TRAIN, VAL)
