import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import TEMPORARY
from darkroom.train import resume
from darkroom.train.resume import Resume
from darkroom.train.trainer import Trainer
from tests.test_training import recipe, same, trainer

AUGMENT = params.load("train", path=Path(__file__).parents[2] / "params.yaml").augment
VARIED = AUGMENT.model_copy(update={"flip": "random", "shift": 1, "erase": 0.5, "mixup": 0.4})


class _Killed(BaseException):
    """Stands for SIGKILL: nothing is tidied up."""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def killed_after(saves: int, run: Trainer, state: Resume) -> None:
    """Runs the training until it has saved its state so many times."""
    count = 0

    def save() -> None:
        nonlocal count
        state.save(run)
        count += 1
        if count == saves:
            raise _Killed

    with pytest.raises(_Killed):
        list(run.epochs(save))


@pytest.mark.parametrize(
    ("changes", "name", "precision"),
    [
        ({"optimizer": "muon", "schedule": "linear"}, "resnet", "bf16"),
        ({"optimizer": "adamw", "ema_decay": 0.9, "weights": "best", "grad_accumulation": 2}, "sprint", "fp32"),
        (
            {"optimizer": "sgd", "schedule": "plateau", "early_stopping": 2, "weights": "best", "grad_clip_norm": 1.0},
            "cnn",
            "fp32",
        ),
        ({"optimizer": "muon", "schedule": "cosine"}, "lstm", "fp32"),
        ({"optimizer": "muon", "schedule": "cosine"}, "vit", "bf16"),
    ],
)
@pytest.mark.parametrize("saves", [1, 2, 5])
def test_a_killed_training_ends_with_the_same_bits(changes: dict, name: str, precision: str, saves: int):
    settings = recipe(**{"epochs": 2.5, "checkpoint_steps": 3, "augment": VARIED, **changes})
    whole = trainer(settings, name, precision=precision)
    list(whole.epochs())

    state = Resume({"test": 1})
    killed_after(saves, trainer(settings, name, precision=precision), state)
    resumed = trainer(settings, name, precision=precision, seed=0)
    assert Resume({"test": 1}).restore(resumed)
    records = list(resumed.epochs())
    assert same(whole.network.state_dict(), resumed.network.state_dict())
    unclocked = [[{**vars(record), "seconds": 0} for record in run] for run in (whole.records, records)]
    assert unclocked[0] == unclocked[1]
    state.remove()
    assert not list(resume.FOLDER.iterdir())


def test_there_is_nothing_to_restore_at_first_or_when_anything_changed():
    run = trainer(recipe())
    assert not Resume({"lr": 1}).restore(run)
    Resume({"lr": 1}).save(run)
    assert not Resume({"lr": 2}).restore(run)
    assert Resume({"lr": 1}).restore(run)


def test_the_key_depends_on_code_versions_and_threads(monkeypatch: pytest.MonkeyPatch):
    before = Resume({}).key
    assert Resume({}).key == before
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    threads = Resume({}).key
    monkeypatch.setattr(resume, "version", lambda name: "0")
    versions = Resume({}).key
    monkeypatch.setattr(resume, "_ROOT", Path("elsewhere"))
    assert len({before, threads, versions, Resume({}).key}) == 4


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"garbage" * 100])
def test_a_damaged_state_is_refused(damage):
    run, state = trainer(recipe()), Resume({})
    state.save(run)
    state.path.write_bytes(damage(state.path.read_bytes()))
    with pytest.raises(DarkroomError, match=r"cannot be used .* delete it to start the training afresh"):
        state.restore(run)


def test_a_state_from_elsewhere_is_refused():
    run, state, other = trainer(recipe()), Resume({"a": 1}), Resume({"a": 2})
    other.save(run)
    other.path.rename(state.path)
    with pytest.raises(DarkroomError, match="it is another training's"):
        state.restore(run)


def test_old_states_are_cleared():
    run = trainer(recipe())
    for number in range(8):
        state = Resume({"run": number})
        assert not state.restore(run)
        state.save(run)
        os.utime(state.path, (number, number))
    assert {path.name for path in resume.FOLDER.iterdir()} == {
        Resume({"run": number}).path.name for number in (4, 5, 6, 7)
    }


def test_what_any_killed_training_left_half_written_is_cleared():
    left = resume.FOLDER / f"{TEMPORARY}another.safetensors-xyz"
    left.parent.mkdir(parents=True)
    left.touch()
    assert not Resume({"a": 1}).restore(trainer(recipe()))
    assert not left.exists()


def test_sigkill_at_any_moment_leaves_a_state_that_can_be_used(tmp_path: Path):
    """A process that does nothing but save is killed again and again; what it leaves must always be whole."""
    script = (
        "from tests.test_training import recipe, trainer\nfrom darkroom.train.resume import Resume\n"
        "run, state = trainer(recipe()), Resume({})\nprint('ready', flush=True)\nwhile True: state.save(run)"
    )
    root = str(Path(__file__).parents[2])
    for delay in (0.02, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
        )
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    paths = list(resume.FOLDER.glob("[!.]*.safetensors"))
    assert len(paths) == 1
    run = trainer(recipe())
    with resume.safe_open(paths[0], framework="pt") as file:
        run.restore(resume.load_file(paths[0]), json.loads(file.metadata()["values"]))
