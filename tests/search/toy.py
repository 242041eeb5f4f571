"""A search over a space whose best point is known: a fake training whose accuracy is a function of the parameters."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.search import __main__ as command
from darkroom.search import trials
from tests import repository
from tests.commands import toys
from tests.repository import ROOT

BEST_LR = 0.01
LINKED = ("dvc.yaml", "darkroom", "stages", "requirements")  # what a search reads of the project
SPACE = {"train.lr": {"low": 0.0001, "high": 1.0, "log": True}, "train.optimizer": ["adamw", "sgd"]}


@dataclass
class Record:
    """One epoch of the fake training."""

    epoch: int
    val_accuracy: float
    seconds: float = 1.0

    def curves(self) -> dict[str, float]:
        names = ("lr", "train_loss", "train_accuracy", "batch_loss", "batch_accuracy", "val_loss")
        return {"epoch": self.epoch, "val_accuracy": self.val_accuracy, **dict.fromkeys(names, 0.5)}


@dataclass
class FakeTrainer:
    """Learns the better the nearer train.lr is to BEST_LR; diverges above 0.5; adamw gains 0.05."""

    seed: int
    model: Any
    settings: Any
    whole: nn.Module = field(default_factory=lambda: nn.Linear(2, 2))
    records: list[Record] = field(default_factory=list)

    def epochs(self) -> Iterator[Record]:
        if self.settings.lr > 0.5:
            raise DarkroomError("the loss is not finite:\nlower train.lr")
        distance = abs(math.log10(self.settings.lr / BEST_LR))
        final = 0.9 - 0.15 * distance + (0.05 if self.settings.optimizer == "adamw" else 0.0) + 1e-5 * self.seed
        for epoch in range(1, math.ceil(self.settings.epochs) + 1):
            self.records.append(Record(epoch, round(final - 0.1 / epoch, 6)))
            yield self.records[-1]

    def summary(self) -> dict[str, float]:
        size = getattr(self.model, self.model.name).channels
        measured = {"val_accuracy": self.records[-1].val_accuracy, "parameters": size, "flops_per_image": 2 * size}
        return {"epochs": len(self.records), **measured, "val_loss": 0.5, "train_loss": 0.5, "train_accuracy": 0.5}


def prepare(monkeypatch: pytest.MonkeyPatch, fake: bool = True) -> None:
    """Make the current folder a project with toy data; replace trainings by fake ones."""
    toys.write({name: toys.split(size, name) for name, size in (("train", 48), ("val", 20), ("test", 4))})
    for name in LINKED:
        Path(name).symlink_to(ROOT / name)
    if fake:
        monkeypatch.setattr(trials, "build_trainer", lambda seed, model, train, *data: FakeTrainer(seed, model, train))
        monkeypatch.setattr(trials.Trials, "_keep", lambda *_: None)
        monkeypatch.setattr(trials, "describe_training", lambda *_: SimpleNamespace())
    monkeypatch.setattr(command.freshness, "notice", lambda: "")


def copy_project() -> None:
    """Replace the links in the current folder, which must not be the project's own, by a copy of the project."""
    assert all(Path(name).is_symlink() for name in LINKED)
    for name in LINKED:
        Path(name).unlink()
    repository.copy_project(Path.cwd())


def write(name: str = "toy", **settings: Any) -> str:
    """Write a search file with these settings; return its path."""
    Path("searches").mkdir(exist_ok=True)
    values = {"trials": 12, "finalists": 2, "seeds": [1, 2, 3], "parameters": SPACE, **settings}
    path = Path(f"searches/{name}.yaml")
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}, sort_keys=False))
    return str(path)


def change(**sections: dict) -> None:
    """Update sections of params.yaml."""
    values = yaml.safe_load(Path("params.yaml").read_text())
    for section, changes in sections.items():
        values[section].update(changes)
    Path("params.yaml").write_text(yaml.safe_dump(values))


def stored(name: str = "toy") -> optuna.Study:
    """A study as a separate program reads it."""
    journal = JournalStorage(JournalFileBackend(f".darkroom/search/{name.partition('/')[0]}/journal.log"))
    return optuna.load_study(study_name=name, storage=journal)


def report(file: str) -> dict[str, Any]:
    """The report of the search of this file."""
    command.main([file, "--report"])
    return json.loads(Path("metrics/search/toy/results.json").read_text())
