import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import TEMPORARY
from darkroom.models.checkpoints import Description
from darkroom.train import fingerprint, resume
from darkroom.train.resume import Resume
from darkroom.train.trainer import Trainer
from tests.trainings import NO_AUGMENTATION, recipe, same, trainer

AUGMENTED = NO_AUGMENTATION.model_copy(update={"flip": "random", "shift": 1, "random_erasing": 0.5, "mixup": 0.4})


class _Killed(BaseException):
    """Stands for SIGKILL: nothing is cleaned up."""


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def described(**params: object) -> Description:
    """The description of a training with these parameters."""
    return Description(
        name="cnn",
        arguments={},
        dataset="toy",
        title="Toy",
        licence="CC0",
        classes=("left", "right"),
        shape=(10, 10, 1),
        mean=(0.5,),
        std=(0.5,),
        data_sha256="0" * 64,
        params={"device": "cpu", **params},
    )


def kill_after(saves: int, run: Trainer, state: Resume) -> None:
    """Run the training until it has saved its state this many times."""
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
        ({"optimizer": "adamw", "ema_decay": 0.9, "keep_weights": "best", "grad_accumulation": 2}, "sprint", "fp32"),
        ({"optimizer": "sgd", "early_stopping": 2, "keep_weights": "best", "grad_clip_norm": 1.0}, "cnn", "fp32"),
        ({"optimizer": "muon", "schedule": "cosine"}, "lstm", "fp32"),
        ({"optimizer": "muon", "schedule": "cosine"}, "vit", "bf16"),
    ],
)
@pytest.mark.parametrize("saves", [1, 2, 5])
def test_killed_training_resumes_and_ends_identical_bit_for_bit(changes: dict, name: str, precision: str, saves: int):
    settings = recipe(**{"epochs": 2.5, "checkpoint_steps": 3, "augment": AUGMENTED, **changes})
    whole = trainer(settings, name, precision=precision)
    list(whole.epochs())

    state = Resume(described())
    kill_after(saves, trainer(settings, name, precision=precision), state)
    resumed = trainer(settings, name, precision=precision, seed=0)
    assert Resume(described()).restore(resumed)
    records = list(resumed.epochs())
    assert same(whole.network.state_dict(), resumed.network.state_dict())
    assert [replace(record, seconds=0) for record in whole.records] == [
        replace(record, seconds=0) for record in records
    ]
    state.remove()
    assert not list(resume.FOLDER.iterdir())


def test_nothing_is_restored_at_first_or_after_a_change_of_parameters():
    run = trainer(recipe())
    assert not Resume(described(lr=1)).restore(run)
    Resume(described(lr=1)).save(run)
    assert not Resume(described(lr=2)).restore(run)
    assert Resume(described(lr=1)).restore(run)


def test_key_depends_on_the_description_the_code_the_versions_and_the_cores(monkeypatch: pytest.MonkeyPatch):
    keys = [Resume(described()).key]
    assert Resume(described()).key == keys[0]
    keys.append(Resume(replace(described(), data_sha256="1" * 64)).key)
    monkeypatch.setattr(fingerprint, "cores", lambda: 99)
    keys.append(Resume(described()).key)
    monkeypatch.setattr(fingerprint, "version", lambda name: "0")
    keys.append(Resume(described()).key)
    monkeypatch.setattr(fingerprint, "_ROOT", Path("elsewhere"))
    keys.append(Resume(described()).key)
    assert len(set(keys)) == 5


def test_key_does_not_depend_on_the_processes_that_share_the_work():
    keys = {
        Resume(described(train={"processes": count, "parallel": how, "lr": lr})).key
        for count in ("auto", 1, 2)
        for how in ("data", "sharded")
        for lr in (0.1, 0.2)
    }
    assert len(keys) == 2


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"garbage" * 100])
def test_damaged_state_is_rejected(damage):
    run, state = trainer(recipe()), Resume(described())
    state.save(run)
    state.path.write_bytes(damage(state.path.read_bytes()))
    with pytest.raises(DarkroomError, match=rf"{state.path} cannot be used"):
        state.restore(run)


def test_state_of_another_training_is_rejected():
    run, state, other = trainer(recipe()), Resume(described(a=1)), Resume(described(a=2))
    other.save(run)
    other.path.rename(state.path)
    with pytest.raises(DarkroomError, match="another training"):
        state.restore(run)


def test_layers_may_share_weights():
    run, fresh = trainer(recipe(epochs=1.0)), trainer(recipe(epochs=1.0), seed=3)
    for one in (run, fresh):
        one.network.tied = one.network.head
    list(run.epochs())
    state = Resume(described())
    state.save(run)
    assert state.restore(fresh)
    assert same(run.network.state_dict(), fresh.network.state_dict())


def test_old_states_are_removed():
    run = trainer(recipe())
    for number in range(8):
        state = Resume(described(run=number))
        assert not state.restore(run)
        state.save(run)
        os.utime(state.path, (number, number))
    kept = {Resume(described(run=number)).path.name for number in (4, 5, 6, 7)}
    assert {path.name for path in resume.FOLDER.iterdir()} == kept


def test_partial_files_of_killed_trainings_are_removed():
    partial = resume.FOLDER / f"{TEMPORARY}another.safetensors-xyz"
    partial.parent.mkdir(parents=True)
    partial.touch()
    assert not Resume(described()).restore(trainer(recipe()))
    assert not partial.exists()


FIRST_KILL = 0.02  # seconds


def states() -> list[Path]:
    return list(resume.FOLDER.glob("[!.]*.safetensors"))


def test_sigkill_at_any_moment_leaves_a_usable_state():
    """A process that only saves is killed again and again; the state that it leaves must be complete."""
    script = (
        "from tests.train.test_resume import described\nfrom tests.trainings import recipe, trainer\n"
        "from darkroom.train.resume import Resume\n"
        "run, state = trainer(recipe()), Resume(described())\nprint('ready', flush=True)\nwhile True: state.save(run)"
    )
    root = str(Path(__file__).parents[2])
    for delay in (FIRST_KILL, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
        )
        assert process.stdout.readline() == b"ready\n"
        while delay > FIRST_KILL and not states():  # the first process may have been killed before it saved one
            assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    paths = states()
    assert len(paths) == 1
    run = trainer(recipe())
    with resume.safe_open(paths[0], framework="pt") as file:
        run.restore(resume.load_file(paths[0]), json.loads(file.metadata()["values"]))
