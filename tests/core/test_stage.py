"""What a stage prints, writes and returns."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from darkroom.core.errors import DarkroomError
from darkroom.core.stage import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setattr(sys, "argv", ["stages/train.py"])
    before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    yield
    signal.signal(signal.SIGTERM, before)
    sys.unraisablehook = hook


def failing(error: BaseException):
    """A stage's main function that raises `error`."""

    def main():
        raise error

    return main


def test_costs_are_written():
    run("train", lambda: {"images_per_second": 12.5})
    costs = json.loads(Path("metrics/cost/train.json").read_text())
    assert list(costs) == ["seconds", "peak_memory_mb", "images_per_second"]
    assert costs["seconds"] >= 0
    assert 10 < costs["peak_memory_mb"] < 100_000


@pytest.mark.parametrize(
    ("error", "code", "fact"),
    [
        (DarkroomError("The door is open: close it."), 1, "The door is open: close it."),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "disk is full"),
        (OSError(errno.EFBIG, "File too large"), 1, "ulimit -f"),
        (OSError(errno.EROFS, "Read-only file system"), 1, "read-only"),
        (MemoryError("4 GB"), 1, "Out of memory (4 GB)"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 1, "Tried to allocate 2 GiB"),
    ],
)
def test_a_failure_is_explained(capsys: pytest.CaptureFixture, error: BaseException, code: int, fact: str):
    with pytest.raises(SystemExit) as ended:
        run("train", failing(error))
    assert ended.value.code == code
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("train: ") and len(printed.splitlines()) == 1
    assert fact in printed
    assert not Path("metrics").exists()


def test_a_tensor_larger_than_memory_is_explained(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        run("train", lambda: torch.empty(2**60))
    assert "train: Out of memory (" in capsys.readouterr().err


def test_a_bug_shows_its_traceback():
    for bug in (ZeroDivisionError, RuntimeError):
        with pytest.raises(bug):
            run("train", failing(bug()))


@pytest.mark.parametrize(
    "lines",
    [
        ("run('train', lambda: os.kill(os.getpid(), signal.SIGTERM))",),
        (
            "class Late:",
            "    def __del__(self):",  # Python ignores an exception in it
            "        os.kill(os.getpid(), signal.SIGTERM)",
            "def main():",
            "    Late()",
            "    time.sleep(60)",
            "run('train', main)",
        ),
    ],
    ids=["anywhere", "in a destructor"],
)
def test_sigterm_ends_the_stage_with_143(lines: tuple[str, ...]):
    lines = ("import os, signal, time", "from darkroom.core.stage import run", *lines)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "\n".join(lines)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 143
    assert ended.stderr.startswith("\ntrain: Terminated")


def stage(name: str, *arguments: str) -> subprocess.CompletedProcess:
    """`python -m stages.<name>` in the working directory."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"stages.{name}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "stages").glob("[!_]*.py")))
def test_help_prints_the_docstring_and_starts_nothing(name: str):
    ended = stage(name, "--help")
    assert ended.returncode == 0, ended.stderr
    assert f"python -m stages.{name}" in ended.stdout
    assert "In: " in ended.stdout and "Out: " in ended.stdout
    assert not list(Path().iterdir())


def test_unknown_arguments_are_refused():
    ended = stage("check", "--epochs", "3")
    assert ended.returncode == 2
    assert "usage: python -m stages.check" in ended.stderr and "--epochs 3" in ended.stderr
    assert not list(Path().iterdir())
