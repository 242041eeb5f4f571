"""Start the processes of a training on this machine, and end them together.

torchrun starts those of several machines; it runs `python -m stages.train` once for each.
"""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.multiprocessing.spawn import ProcessException, start_processes
from tqdm import tqdm

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_json
from darkroom.core.processor import cores
from darkroom.core.spelling import counted
from darkroom.models import hardware
from darkroom.train import processes
from darkroom.train.config import TrainConfig
from darkroom.train.processes import LostConnection

GRACE = 5  # seconds in which the others end by themselves after one has failed

_ERRORS = {error.__name__: error for error in (LostConnection, DarkroomError, OSError, MemoryError)}


def count(settings: TrainConfig) -> int:
    """The number of processes to start on this machine: 1 if torchrun has started them already.

    For "auto" one per GPU, and one on a CPU. Raises DarkroomError if there are fewer GPUs or usable cores.
    """
    if processes.started():
        started = os.environ["WORLD_SIZE"]
        if str(settings.processes) not in ("auto", started):
            raise DarkroomError(
                f"train.processes = {settings.processes}, but torchrun started {started}: set it to auto or {started}."
            )
        return 1
    if settings.tune == "head":  # takes seconds
        return 1
    device = hardware.choose_device(settings.device)
    limits = {"cuda": (torch.cuda.device_count(), "GPUs"), "cpu": (cores(), "CPU cores that this process may use")}
    limit, what = limits.get(device.type, (1, "Apple GPU"))
    if settings.processes == "auto":
        return limit if device.type == "cuda" else 1
    if settings.processes > limit:
        raise DarkroomError(
            f"train.processes = {settings.processes}: must be at most {limit}, the number of {what}; "
            f"lower it, or use auto{'' if device.type == 'cpu' else ' or train.device = cpu'}."
        )
    return settings.processes


def start(work: Callable[[], Mapping[str, Any]], number: int) -> dict[str, Any]:
    """Run `work` in `number` new processes; return what it returns in the first of them, as JSON.

    `work` must be a function of a module; in each process it calls `processes.join`. If one process fails or is killed,
    the others end within seconds. Raises that process's error if it is a DarkroomError, OSError or MemoryError, else
    RuntimeError with its traceback.
    """
    with tempfile.TemporaryDirectory(prefix="darkroom-") as folder:
        with _environment_of_workers():
            context = start_processes(
                _run, (work, number, folder), number, join=False, daemon=True, start_method="spawn"
            )
        logging.getLogger(start_processes.__module__).setLevel(logging.ERROR)  # it warns before it ends a process
        try:
            while not context.join(grace_period=GRACE):
                pass
        except ProcessException as error:
            _raise_cause(context.processes, Path(folder), error.error_index)
        finally:
            for process in context.processes:
                process.kill()  # this process was interrupted: they save nothing that is not complete
                process.join()
        return json.loads(_answer(Path(folder), 0).read_text(encoding="utf-8"))


@contextlib.contextmanager
def _environment_of_workers() -> Iterator[None]:
    """Start processes that leave Ctrl-C and DVC's outputs to this one."""
    stage, handler = os.environ.pop("DVC_STAGE", None), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if stage:
            os.environ["DVC_STAGE"] = stage


def _run(rank: int, work: Callable[[], Mapping[str, Any]], number: int, folder: str) -> None:
    """What a started process does; on Linux, PyTorch lets the system interrupt it (SIGINT) when its parent dies."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # by default a semaphore of the system, which a killed process leaves behind
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
    os.environ[processes.MEETING_FILE] = str(Path(folder, "meeting"))
    answer = _answer(Path(folder), rank)
    try:
        write_json(answer, work())
    except Exception as error:
        write_json(answer, _described(error))
        sys.exit(1)


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, on any system."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _answer(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.json"


def _described(error: Exception) -> dict[str, Any]:
    """An error as JSON: its kind, and the arguments to raise it again."""
    for name, kind in _ERRORS.items():
        if isinstance(error, kind):
            arguments = [str(error)]
            if kind is OSError:
                arguments = [*error.args[:2], *([error.filename] if error.filename else [])]
            return {"error": name, "arguments": [one if isinstance(one, int) else str(one) for one in arguments]}
    text = f"{type(error).__name__}: {error}\n\n{''.join(traceback.format_exception(error))}"
    return {"error": "RuntimeError", "arguments": [text]}


def _raise_cause(ended: Sequence[BaseProcess], folder: Path, first: int) -> NoReturn:
    """Raise the error that explains why the processes ended: others of them may only have lost their connection.

    Without such an error, say how the first that was killed ended, or the process of rank `first`.
    """
    codes = [process.exitcode for process in ended]
    killed = [rank for rank, code in enumerate(codes) if code < 0 and -code != signal.SIGTERM]
    paths = (_answer(folder, rank) for rank in range(len(codes)))
    answers = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
    errors = [answer for answer in answers if "error" in answer]
    causes = [answer for answer in errors if answer["error"] != LostConnection.__name__]
    clear = [answer for answer in causes if answer["error"] in _ERRORS]  # others may follow from a lost connection
    if not clear and (killed or not errors):
        rank = killed[0] if killed else first
        how = f"was killed by {signal.Signals(-codes[rank]).name}" if codes[rank] < 0 else "ended unexpectedly"
        is_full = -codes[rank] == signal.SIGKILL
        advice = " Perhaps the memory was full: lower train.batch_size or train.processes." if is_full else ""
        raise DarkroomError(
            f"Process {rank + 1} of {counted(len(codes), 'process')} {how}, so the training stopped.{advice} "
            "Run the same command again to resume."
        )
    cause = (clear or causes or errors)[0]
    raise _ERRORS.get(cause["error"], RuntimeError)(*cause["arguments"])
