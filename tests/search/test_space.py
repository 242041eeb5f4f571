"""Search files: what is refused, and that every sample is a valid params.yaml."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom import schema
from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.search import description, space
from darkroom.search.opened import Opened
from tests.repository import ROOT

BASE = params.read(ROOT / "params.yaml")
FILES = sorted((ROOT / "searches").glob("*.yaml"))


def opened(path: Path, parameters: Any, **settings: Any) -> Opened:
    """The search of these parameters, in a file at `path`."""
    path.write_text(yaml.safe_dump({"trials": 3, "parameters": parameters, **settings}, sort_keys=False))
    return Opened(path, None, None, None)


def made(parameters: dict[str, Any]) -> space.Space:
    entries = {name: description._parameter(entry, "", name) for name, entry in parameters.items()}
    return space.build(entries, BASE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_search_of_the_project_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    found = Opened(path, None, None, None)
    assert len(found.space.parameters) > 1
    if found.search.sampler == "grid":
        assert found.search.trials == len(found.space.points())


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_names_its_search(path: Path):
    line = next(line for line in path.read_text().splitlines() if line.startswith("# search "))
    source = line.split()[2].rstrip(":,")
    assert source == "none" or (ROOT / source) in FILES


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"train.lrr": [1, 2]}, r"train\.lrr is not a parameter; did you mean train\.lr\?"),
        ({"model.resnet": [1, 2]}, r"model\.resnet is not a parameter"),
        ({"train.lr": {"low": 0.1, "high": 0.1}}, r"train\.lr.*empty.*low = 0\.1"),
        ({"train.lr": {"low": 0.2, "high": 0.1}}, r"train\.lr.*inverted"),
        ({"train.lr": {"low": 0, "high": 0.1, "log": True}}, r"low = 0 must be greater than 0"),
        ({"train.lr": {"low": 0.1, "high": 0.2, "step": 0.3}}, r"step = 0\.3 must be at most"),
        ({"train.lr": {"low": 0.1, "high": 0.2, "step": 0.03}}, r"step = 0\.03 must divide"),
        ({"train.lr": {"low": 0.1}}, r"parameters\.train\.lr\.high is missing"),
        ({"train.lr": {"min": 0.1, "high": 1.0}}, r"min was renamed: use .*low"),
        ({"train.lr": []}, r"train\.lr\.choices"),
        ({"train.lr": [0.1, 0.1]}, r"0\.1 is given twice"),
        ({"train.lr": 0.1}, r"train\.lr = 0\.1: must be a list of choices or a range"),
        ({"train.lr": [0.1, -1.0]}, r"a sampled params\.yaml: train\.lr = -1\.0: must be greater than 0"),
        ({"train.momentum": {"low": 0.5, "high": 1.0}}, r"train\.momentum = 1\.0: must be less than 1"),
        ({"model.resnet.channels": {"low": 8.5, "high": 16}}, r"is a whole number"),
        ({"train.schedule": {"low": 0, "high": 1}}, r"train\.schedule is not a number"),
        ({"train.schedule": ["linear", "cosin"]}, r"train\.schedule = 'cosin'"),
        ({"preprocess.image_size": [16, 32]}, r"preprocess\.image_size cannot be searched: it changes the data"),
        ({"evaluate.top_k": [1, 3]}, r"evaluate\.top_k cannot be searched: it does not change the training"),
        ({"seed": [1, 2]}, r"seed cannot be searched"),
        ({"model.pretrained": ["none", "x"]}, r"model\.pretrained cannot be searched"),
        ({"train.threads": [1, 2]}, r"train\.threads cannot be searched"),
        ({"model.vit.depth": [1, 2]}, r"model\.vit\.depth has no effect: model\.name is resnet"),
        ({"train.momentum": {"choices": [0.8, 0.9], "when": {"train.optimizer": "sgd"}}}, r"is not searched"),
        (
            {
                "train.momentum": {"choices": [0.8], "when": {"train.optimizer": "sgd"}},
                "train.optimizer": ["sgd", "muon"],
            },
            r"must stand above it",
        ),
        (
            {
                "train.optimizer": ["muon", "adamw"],
                "train.momentum": {"choices": [0.8], "when": {"train.optimizer": "sgd"}},
            },
            r"when\.train\.optimizer = 'sgd' never holds",
        ),
        (
            {
                "train.optimizer": ["muon", "sgd"],
                "train.schedule": {"choices": ["linear", "cosine"], "when": {"train.optimizer": "sgd"}},
                "train.momentum": {"choices": [0.8], "when": {"train.optimizer": "muon", "train.schedule": "cosine"}},
            },
            r"train\.momentum\.when: .*never hold",
        ),
        ({"train.lr": {"low": 0.1, "high": 1.0}, "train.epochs": [1.0, 2.0]}, r"train\.epochs must have one value"),
        (
            {"model.name": ["resnet", "vit"], "model.vit.embed_dim": [64, 96], "model.vit.heads": [4, 5]},
            r"heads = 5 must divide embed_dim = 64",
        ),
        (
            {"train.batch_size": [32, 48], "train.grad_accumulation": [1, 32]},
            r"grad_accumulation = 32 must divide .*48",
        ),
        ({}, r"parameters"),
    ],
)
def test_a_wrong_space_is_refused_in_one_line(
    parameters: dict, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(ROOT)
    with pytest.raises(DarkroomError, match=message) as caught:
        opened(tmp_path / "toy.yaml", parameters)
    assert "\n" not in str(caught.value) and str(tmp_path / "toy.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, r"trials = 0: must be greater than or equal to 1"),
        ({"hours": 0}, r"hours = 0: must be greater than 0"),
        ({"seeds": [1, 1]}, r"seeds must be distinct"),
        ({"seeds": [1, 42]}, r"seeds holds 42, the seed of all trials"),
        ({"finalist": 3}, r"finalist is not a parameter; did you mean finalists\?"),
        ({"sampler": "bayes"}, r"sampler = 'bayes'"),
        ({"cost": "flops", "pruning": True}, r"pruning needs a single objective"),
        ({"recipe": "quick"}, r"recipe = 'quick': must be none or one of accurate"),
        ({"sampler": "grid"}, r"train\.lr: a grid needs choices"),
    ],
)
def test_wrong_settings_are_refused(settings: dict, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(DarkroomError, match=message):
        opened(tmp_path / "toy.yaml", {"train.lr": {"low": 0.01, "high": 0.1, "log": True}}, **settings)


def test_one_number_of_epochs_can_be_set_with_pruning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    for epochs in ([2.0], {"choices": [2.0]}):
        found = opened(tmp_path / "toy.yaml", {"train.lr": [0.1, 0.2], "train.epochs": epochs})
        assert found.search.prunes and found.space.values("train.epochs", 8) == [2.0]


def test_a_missing_or_broken_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(DarkroomError, match=r"absent\.yaml is missing"):
        Opened(tmp_path / "absent.yaml", None, None, None)
    for text in ("- 1\n", "a: [\n", ""):
        (tmp_path / "broken.yaml").write_text(text)
        with pytest.raises(DarkroomError, match=r"broken\.yaml"):
            Opened(tmp_path / "broken.yaml", None, None, None)


def test_a_recipe_is_the_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    found = opened(tmp_path / "toy.yaml", {"model.sprint.channels": [8, 16]}, recipe="sprint")
    assert found.space.base["model"]["name"] == "sprint" and found.space.base["train"]["epochs"] == 1.2


def test_the_identity_leaves_out_what_cannot_matter():
    identity = made({"model.name": ["resnet", "cnn"], "train.lr": [0.1, 0.2]}).identity()
    assert {"seed", "model.resnet.channels", "model.cnn.channels", "train.momentum", "parameters.train.lr"} <= set(
        identity
    )
    assert not {"train.lr", "model.name", "model.vit.depth", "train.threads", "evaluate.top_k"} & set(identity)


@settings(max_examples=30, deadline=None)
@given(low=st.floats(1e-6, 0.5), factor=st.floats(1.001, 2), seed=st.integers(0, 2**32 - 1), log=st.booleans())
def test_rounded_samples_stay_in_their_range(low: float, factor: float, seed: int, log: bool):
    found = made({"train.lr": {"low": low, "high": low * factor, "log": log}})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(5):
        value = found.suggest(study.ask())["train.lr"]
        assert low <= value <= low * factor


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_sample_is_a_valid_params_file_with_only_active_parameters(seed: int):
    found = made(
        {
            "train.optimizer": ["muon", "sgd"],
            "train.momentum": {"low": 0.1, "high": 0.9, "step": 0.1, "when": {"train.optimizer": ["sgd"]}},
            "model.vit.embed_dim": {"low": 32, "high": 128, "step": 32},
            "model.vit.heads": [2, 4],
            "model.name": ["resnet", "vit"],
        }
    )
    found.check()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(5):
        sample = found.suggest(study.ask())
        schema.check(found.params(sample))
        assert ("train.momentum" in sample) == (sample["train.optimizer"] == "sgd")
        assert ("model.vit.heads" in sample) == (sample["model.name"] == "vit") == ("model.vit.embed_dim" in sample)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_present_values_are_those_of_a_sample_that_was_applied(seed: int):
    parameters = {
        "train.optimizer": ["muon", "sgd"],
        "train.momentum": {"low": 0.1, "high": 0.9, "step": 0.1, "when": {"train.optimizer": ["sgd"]}},
        "train.lr": {"low": 0.001, "high": 1.0, "log": True},
        "train.augment.shift": {"low": 0, "high": 6, "step": 2},
    }
    found = made(parameters)
    sample = found.suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask())
    applied = space.build(found.parameters, found.params(sample))
    assert applied.present() == sample


@pytest.mark.parametrize(
    ("name", "value"),
    [("train.optimizer", "adamw"), ("train.lr", 0.002), ("train.lr", 0.0123456), ("train.augment.shift", 3)],
)
def test_present_values_outside_of_the_space_are_no_sample(name: str, value: object):
    found = made(
        {
            "train.optimizer": ["muon", "sgd"],
            "train.lr": {"low": 0.01, "high": 1.0},
            "train.augment.shift": {"low": 0, "high": 6, "step": 2},
        }
    )
    inside = {"train.optimizer": "muon", "train.lr": 0.5, "train.augment.shift": 2}
    assert space.build(found.parameters, found.params(inside)).present() == inside
    assert space.build(found.parameters, found.params({**inside, name: value})).present() is None


def test_values_of_steps_are_exact():
    found = made({"train.momentum": {"low": 0.1, "high": 0.9, "step": 0.1}})
    assert found.values("train.momentum", 100) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert [sample["train.momentum"] for sample in found.points()] == found.values("train.momentum", 100)
