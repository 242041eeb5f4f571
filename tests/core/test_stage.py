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


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def failing(error: BaseException):
    """A stage's main function that raises `error`."""

    def main():
        raise error

    return main


def test_costs_are_written_down():
    run("train", lambda: {"images_per_second": 12.5})
    costs = json.loads(Path("metrics/cost/train.json").read_text())
    assert list(costs) == ["seconds", "peak_memory_mb", "images_per_second"]
    assert costs["seconds"] >= 0
    assert 10 < costs["peak_memory_mb"] < 100_000


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (DarkroomError("The cat is out: shut the door."), 1, "train: The cat is out: shut the door."),
        (KeyboardInterrupt(), 130, "train: Stopped. The same command goes on from here."),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "train: The disk is full: free some space"),
        (OSError(errno.EROFS, "Read-only file system"), 1, "train: The disk is read-only"),
        (MemoryError("4 GB"), 1, "train: Out of memory (4 GB)"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            1,
            "train: Out of memory (CUDA out of memory. Tried to allocate 2 GiB)",
        ),
    ],
)
def test_a_failure_is_told_in_a_sentence(capsys: pytest.CaptureFixture, error: BaseException, code: int, sentence: str):
    with pytest.raises(SystemExit) as ended:
        run("train", failing(error))
    assert ended.value.code == code
    assert sentence in capsys.readouterr().err
    assert not Path("metrics").exists()


def test_a_tensor_larger_than_memory_is_told_in_a_sentence(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        run("train", lambda: torch.empty(2**60))
    assert "train: Out of memory (" in capsys.readouterr().err


def test_a_fault_of_ours_shows_its_traceback():
    for fault in (ZeroDivisionError, RuntimeError):
        with pytest.raises(fault):
            run("train", failing(fault()))


def test_sigterm_ends_the_stage_with_143():
    script = "import os, signal; from darkroom.core.stage import run; run('train', lambda: os.kill(os.getpid(), signal.SIGTERM))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 143
    assert ended.stderr.strip() == "train: Terminated. The same command goes on from here."
