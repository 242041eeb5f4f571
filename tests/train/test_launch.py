import ctypes
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import torch
import yaml

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_json
from darkroom.core.processor import cores
from darkroom.train import launch, processes, resume
from darkroom.train.processes import LostConnection
from tests import packs
from tests.repository import ROOT
from tests.train.test_stage import KNOWN
from tests.trainings import CPU, PATH, recipe, split

LIMIT = 300  # seconds after which a test gives up, on a very slow machine


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("device", "wanted", "expected"),
    [("cpu", "auto", 1), ("cpu", 1, 1), ("cpu", 2, 2), ("cuda", "auto", 3), ("cuda", 2, 2), ("mps", "auto", 1)],
)
def test_number_of_processes(device: str, wanted: int | str, expected: int, monkeypatch: pytest.MonkeyPatch):
    machine(device, monkeypatch)
    assert launch.count(recipe(device=device, processes=wanted)) == expected
    assert launch.count(recipe(device=device, processes=wanted, tune="head")) == 1


@pytest.mark.parametrize(
    ("device", "wanted", "limit"), [("cpu", 3, "2, the number of CPU cores"), ("cuda", 4, "3, the number of GPUs")]
)
def test_more_processes_than_the_machine_has_room_for(
    device: str, wanted: int, limit: str, monkeypatch: pytest.MonkeyPatch
):
    machine(device, monkeypatch)
    with pytest.raises(DarkroomError, match=rf"train\.processes = {wanted}: must be at most {limit}.*lower it"):
        launch.count(recipe(device=device, processes=wanted))


def machine(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CPU cores, and three GPUs."""
    monkeypatch.setattr(launch, "cores", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(launch.hardware, "choose_device", lambda wanted: torch.device(device))


def test_processes_of_torchrun_start_no_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launch.count(recipe()) == launch.count(recipe(processes=4)) == 1
    with pytest.raises(DarkroomError, match=r"train\.processes = 2, but torchrun started 4"):
        launch.count(recipe(processes=2))


def test_fewer_gpus_than_processes_of_torchrun(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    environment = {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    expected = pytest.raises(DarkroomError, match="2 processes were started on this machine, but it has 1 GPU")
    with expected, processes.join(torch.device("cuda")):
        pass


def test_incomplete_variables_of_torchrun(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "1")  # as some clusters set it
    monkeypatch.setenv("RANK", "0")
    expected = pytest.raises(DarkroomError, match=r"WORLD_SIZE.*LOCAL_RANK, LOCAL_WORLD_SIZE.*torchrun")
    with expected, processes.join(CPU):
        pass


def test_a_port_in_use_is_explained(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": server.getsockname()[1]}
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        expected = pytest.raises(DarkroomError, match=r"cannot meet .*MASTER_PORT = .*--master-port")
        with expected, processes.join(CPU):
            pass


def fail_in_second() -> dict:
    """Fail in the second process, while the first waits for it."""
    with processes.join(CPU) as group:
        if group.is_first:
            group.sum([torch.ones(1)])
        raise OSError(errno.ENOSPC, "No space left")


def test_the_error_of_one_process_ends_all():
    with pytest.raises(OSError, match="No space left") as raised:
        launch.start(fail_in_second, 2)
    assert raised.value.errno == errno.ENOSPC
    assert not workers(psutil.Process())


def wait() -> dict:
    """Wait in a process that the system does not end with its parent: Linux alone would, if it was not told not to."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 0)  # PR_SET_PDEATHSIG
    Path("waiting").touch()
    time.sleep(LIMIT)
    return {}


def test_processes_end_with_the_one_that_started_them(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    code = "from darkroom.train import launch; from tests.train.test_launch import wait; launch.start(wait, 1)"
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as running:
        until(lambda: Path("waiting").exists() or running.poll() is not None)
        (started,) = workers(psutil.Process(running.pid))
        running.kill()
    until(lambda: ended(started))


def ended(process: psutil.Process) -> bool:
    """Whether a process ran to its end; its parent may not have asked for its exit code."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Ended(NamedTuple):
    exitcode: int


@pytest.mark.parametrize(
    ("codes", "errors", "expected", "message"),
    [
        ((1, 1), (LostConnection("lost"), DarkroomError("a clear line")), DarkroomError, "^a clear line$"),
        ((1, 1), (LostConnection("lost"), LostConnection("lost")), LostConnection, "^lost$"),
        ((1, -9), (LostConnection("lost"), None), DarkroomError, "^Process 2 of 2 processes was killed by SIGKILL"),
        ((-11, -15), (None, None), DarkroomError, "^Process 1 of 2 processes was killed by SIGSEGV"),
        ((1, -6), (DarkroomError("a clear line"), None), DarkroomError, "^a clear line$"),
        ((1, -9), (RuntimeError("something else"), None), DarkroomError, "^Process 2 of 2 processes was killed"),
        ((1, 1), (FileNotFoundError(2, "No such file", "x.npy"), None), FileNotFoundError, "No such file: 'x.npy'$"),
        ((3, 0), (None, None), DarkroomError, "^Process 1 of 2 processes ended unexpectedly"),
        ((1, -15), (MemoryError("too much"), None), MemoryError, "^too much$"),
        ((-15, 1), (None, KeyError("x")), RuntimeError, "^KeyError: 'x'\n\n"),
    ],
)
def test_the_cause_is_named_and_not_its_consequences(
    codes: Sequence[int], errors: Sequence[Exception | None], expected: type[Exception], message: str, tmp_path: Path
):
    for rank, error in enumerate(errors):
        if error:
            write_json(tmp_path / f"{rank}.json", launch._described(error))
    with pytest.raises(expected, match=message):
        launch._raise_cause([Ended(code) for code in codes], tmp_path, 0)


def workers(process: psutil.Process) -> list[psutil.Process]:
    return [one for one in process.children() if "spawn_main" in " ".join(one.cmdline())]


def states() -> dict[Path, int]:
    """The saved states and the times at which they were written."""
    return {path: path.stat().st_mtime_ns for path in resume.FOLDER.glob("[!.]*.safetensors")}


def kill_training(number: signal.Signals, is_worker: bool, processes: int = 2) -> tuple[int, str, str]:
    """Start the stage, send a signal to it or one of its workers once it has saved its state.

    Returns its exit code and what it printed.
    """
    before = states()
    command = [sys.executable, "-m", "stages.train"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) as running:
        until(lambda: states() != before or running.poll() is not None)
        assert running.poll() is None, running.communicate()
        started = workers(psutil.Process(running.pid))
        assert len(started) == (processes if processes > 1 else 0)
        (started[1] if is_worker else running).send_signal(number)
        printed, errors = running.communicate(timeout=LIMIT)
        until(lambda: all(map(ended, started)))
        return running.returncode, printed, errors


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(cores() < 2, reason="needs two cores")
def test_an_interrupted_training_leaves_no_processes_and_resumes_in_another_number():
    packs.write("data/arrays", {"train": split(256, 1), "val": split(64, 2), "test": split(8, 3)}, KNOWN)
    values = params.read(PATH)
    values["model"]["name"] = "sprint"
    values["train"] |= {"epochs": 50_000, "batch_size": 32, "min_steps": 0, "processes": 2}
    values["train"] |= {"device": "cpu", "precision": "fp32", "threads": 1}
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")

    code, printed, errors = kill_training(signal.SIGKILL, is_worker=True)
    assert code == 1
    assert re.fullmatch(r"train: Process 2 of 2 processes was killed by SIGKILL.* resume\.", errors.strip())
    assert printed.count("training sprint") == 1 and "resuming" not in printed
    code, printed, errors = kill_training(signal.SIGTERM, is_worker=False)
    assert code == 128 + signal.SIGTERM
    assert re.fullmatch(r"train: Terminated\..* resume\.", errors.strip())
    assert "resuming an interrupted training" in printed

    values["train"]["processes"] = 1
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    code, printed, errors = kill_training(signal.SIGTERM, is_worker=False, processes=1)
    assert code == 128 + signal.SIGTERM, errors
    assert "resuming an interrupted training" in printed
