"""How a stage script runs: what it costs is written down, and when it fails it says why and loses nothing.

DVC deletes a stage's outputs before it starts the stage. So where a stage fails, whatever the reason, the outputs that
dvc.lock records are put back from DVC's cache: the pipeline is then as it was before.
"""

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import psutil

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_file, write_json

SYSTEM_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space",
    errno.EDQUOT: "The disk quota is used up: free some space",
    errno.EROFS: "The disk is read-only: remount it, or work in a folder that can be written to",
    errno.EACCES: "Permission is denied: make the file or folder accessible to this user",
    errno.EPERM: "Permission is denied: make the file or folder accessible to this user",
}
_MEMORY = re.compile("OutOfMemoryError|can't allocate memory|not enough memory")  # PyTorch's, which are RuntimeErrors


def guard(name: str) -> None:
    """Lets nothing be lost either where the stage ends outside of `run`, or by a fault of ours: for the rest of the process."""

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if explained := _explain(error):
            _end(name, *explained)
        _put_back(name)
        sys.__excepthook__(kind, error, trace)

    signal.signal(signal.SIGTERM, _stop)
    sys.excepthook = end


def run(name: str, main: Callable[[], Mapping[str, float] | None], measure_cost: bool = True) -> None:
    """Runs the stage `name` and ends the process: exit code 0, 1 after a failure, 128 + signal where it was stopped.

    `main` may return costs of its own; with the seconds and the peak memory they go to metrics/cost/<name>.json.
    """
    signal.signal(signal.SIGTERM, _stop)
    try:
        costs = dict(main() or {})
        seconds = round(time.time() - psutil.Process().create_time(), 2)  # imports are part of what a stage costs
        if measure_cost:
            write_json(f"metrics/cost/{name}.json", {"seconds": seconds, "peak_memory_mb": peak_memory_mb(), **costs})
    except BaseException as error:
        if not (explained := _explain(error)):
            raise
        _end(name, *explained)


def peak_memory_mb() -> float:
    """The most memory (resident set) that this process has held so far, in units of 10**6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


class _Terminated(BaseException):
    """SIGTERM arrived; not an Exception, so that nothing on the way takes it for an error of its own."""


def _stop(*_: object) -> None:
    raise _Terminated


def _explain(error: BaseException) -> tuple[str, int] | None:
    """What to tell the user, and the exit code; None for a fault of ours, which keeps its traceback."""
    match error:
        case DarkroomError():
            return str(error), 1
        case KeyboardInterrupt():
            return "Stopped. The same command goes on from here.", 128 + signal.SIGINT
        case _Terminated():
            return "Terminated. The same command goes on from here.", 128 + signal.SIGTERM
        case OSError(errno=number) if number in SYSTEM_REMEDIES:
            return f"{SYSTEM_REMEDIES[number]}, then run `dvc repro` again ({error}).", 1
        case MemoryError() | RuntimeError() if isinstance(error, MemoryError) or _MEMORY.search(
            f"{type(error).__name__}: {error}"
        ):
            detail = str(error).splitlines()[0] if str(error) else type(error).__name__
            return (
                f"Out of memory ({detail}): close other programs, lower train.batch_size, raise train.grad_accumulation, or take smaller pictures.",
                1,
            )
    return None


def _end(name: str, message: str, code: int) -> NoReturn:
    _put_back(name)
    print(f"\n{name}: {message}", file=sys.stderr)
    sys.exit(code)


def _put_back(name: str) -> None:
    """Puts the outputs that dvc.lock records for the stage back from DVC's cache, where DVC itself took them away."""
    if os.environ.get("DVC_STAGE") != name:
        return  # started by hand: nothing was taken away, and every writer replaces its output in one step
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not stop the rescue half-way
    import yaml
    from dvc.repo import Repo

    try:
        lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
        outs = lock["stages"][name]["outs"]
    except (FileNotFoundError, KeyError):
        return  # the stage never ran to its end: there is nothing to put back
    try:
        with Repo() as repo:
            cached = repo.cache.local.oid_to_path
            for out in outs:
                if Path(cached(out["md5"])).exists():
                    _restore(Path(out["path"]), out["md5"], cached)
                else:  # a fresh clone: what was there, if anything, came from git
                    subprocess.run(
                        ["git", "checkout", "--quiet", "--", out["path"]], stderr=subprocess.DEVNULL, check=False
                    )
    except OSError as error:
        print(
            f"{name}: not all earlier outputs could be put back ({error}): `dvc checkout` and `git checkout metrics` do it.",
            file=sys.stderr,
        )


def _restore(path: Path, digest: str, cached: Callable[[str], str]) -> None:
    """Copies the file or folder `path` of that digest out of DVC's cache; a folder's digest names a list of its files."""
    if not digest.endswith(".dir"):
        with new_file(path) as temporary:
            shutil.copyfile(cached(digest), temporary)
        return
    shutil.rmtree(path, ignore_errors=True)
    for entry in json.loads(Path(cached(digest)).read_text(encoding="utf-8")):
        _restore(path / entry["relpath"], entry["md5"], cached)
