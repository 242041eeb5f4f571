"""Run a stage script: measure its cost, explain failures, and restore earlier outputs after a failure.

DVC deletes the outputs of a stage before it starts the stage. If the stage fails for any reason, the outputs that
dvc.lock records are restored from DVC's cache, so the pipeline is as it was before.
"""

import argparse
import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
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
    errno.EDQUOT: "The disk quota is exceeded: free some space",
    errno.EFBIG: "The file is too large for the disk or for `ulimit -f`: raise the limit",
    errno.EROFS: "The disk is read-only: remount it, or work in a writable folder",
    errno.EACCES: "Permission denied: give this user access to the file or folder",
    errno.EPERM: "Permission denied: give this user access to the file or folder",
}
_MEMORY = re.compile("OutOfMemoryError|can't allocate memory|not enough memory")  # PyTorch's, which are RuntimeErrors
_MEMORY_REMEDY = (
    "close other programs, lower train.batch_size, raise train.grad_accumulation, or lower preprocess.image_size"
)
_RERUN = "Run the same command again to resume."
_SECONDS_TO_LEAVE = 0.05  # a destructor, before a signal is sent again


def guard(name: str) -> None:
    """Restore outputs also after a failure outside of `run`, and after an error that `run` does not explain."""

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if explained := _explain(error):
            _end(name, *explained)
        _restore_outputs(name)
        sys.__excepthook__(kind, error, trace)

    signal.signal(signal.SIGTERM, _terminate)
    sys.excepthook, sys.unraisablehook = end, _send_again


def run(name: str, main: Callable[[], Mapping[str, float] | None], measure_cost: bool = True) -> None:
    """Run the stage `name`; on failure, end the process with exit code 1, or 128 + signal if it was stopped.

    `main` may return costs of its own; these, the seconds and the peak memory are written to metrics/cost/<name>.json.
    With --help, print the docstring of the script instead; other arguments are refused with exit code 2.
    """
    _check_arguments(name, sys.modules[main.__module__].__doc__ or "")
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _send_again
    try:
        costs = dict(main() or {})
        seconds = round(time.time() - psutil.Process().create_time(), 2)  # includes the time for imports
        if measure_cost:
            write_json(f"metrics/cost/{name}.json", {"seconds": seconds, "peak_memory_mb": peak_memory_mb(), **costs})
    except BaseException as error:
        if not (explained := _explain(error)):
            raise
        _end(name, *explained)


def peak_memory_mb() -> float:
    """The peak resident set size of this process so far, in MB (10**6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def _check_arguments(name: str, description: str) -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{name}",
        description=description,
        epilog="It has no options of its own: its parameters are in params.yaml.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _, unknown = parser.parse_known_args()
    if unknown:
        _restore_outputs(name)
        parser.error(f"unknown arguments: {' '.join(unknown)} (parameters are in params.yaml)")


class _Terminated(BaseException):
    """SIGTERM arrived; not an Exception, so that no `except Exception` on the way catches it."""


def _terminate(*_: object) -> None:
    raise _Terminated


def _send_again(ignored: "sys.UnraisableHookArgs") -> None:
    """Send the signal again if its exception was raised in a destructor, where Python ignores exceptions."""
    if isinstance(ignored.exc_value, _Terminated | KeyboardInterrupt):
        number = signal.SIGTERM if isinstance(ignored.exc_value, _Terminated) else signal.SIGINT
        again = threading.Timer(_SECONDS_TO_LEAVE, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(ignored)


def _explain(error: BaseException) -> tuple[str, int] | None:
    """The message for the user and the exit code; None for a bug, which keeps its traceback."""
    match error:
        case DarkroomError():
            return str(error), 1
        case KeyboardInterrupt():
            return f"Interrupted. {_RERUN}", 128 + signal.SIGINT
        case _Terminated():
            return f"Terminated. {_RERUN}", 128 + signal.SIGTERM
        case OSError(errno=number) if number in SYSTEM_REMEDIES:
            return f"{SYSTEM_REMEDIES[number]}, then run `dvc repro` again ({error}).", 1
        case MemoryError() | RuntimeError() if _is_out_of_memory(error):
            detail = str(error).splitlines()[0] if str(error) else type(error).__name__
            return f"Out of memory ({detail}): {_MEMORY_REMEDY}.", 1
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or bool(_MEMORY.search(f"{type(error).__name__}: {error}"))


def _end(name: str, message: str, code: int) -> NoReturn:
    _restore_outputs(name)
    print(f"\n{name}: {message}", file=sys.stderr)
    sys.exit(code)


def _restore_outputs(name: str) -> None:
    """Restore the outputs that dvc.lock records for the stage from DVC's cache, after DVC itself deleted them."""
    if os.environ.get("DVC_STAGE") != name:
        return  # started by hand: nothing was deleted, and every writer replaces its output atomically
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not interrupt this
    import yaml
    from dvc.repo import Repo

    try:
        lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
        outs = lock["stages"][name]["outs"]
    except (FileNotFoundError, KeyError):
        return  # the stage never finished: there is nothing to restore
    try:
        with Repo() as repo:
            cached = repo.cache.local.oid_to_path
            for out in outs:
                if Path(cached(out["md5"])).exists():
                    _restore(Path(out["path"]), out["md5"], cached)
                else:  # in a fresh clone the cache is empty, and earlier outputs can only come from git
                    command = ["git", "checkout", "--quiet", "--", out["path"]]
                    subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
    except OSError as error:
        remedy = "run `dvc checkout` and `git checkout metrics`"
        print(f"{name}: not all earlier outputs could be restored ({error}): {remedy}.", file=sys.stderr)


def _restore(path: Path, digest: str, cached: Callable[[str], str]) -> None:
    """Copy a file or folder out of DVC's cache to `path`; the digest of a folder names the list of its files."""
    if not digest.endswith(".dir"):
        with new_file(path) as temporary:
            shutil.copyfile(cached(digest), temporary)
        return
    shutil.rmtree(path, ignore_errors=True)
    for entry in json.loads(Path(cached(digest)).read_text(encoding="utf-8")):
        _restore(path / entry["relpath"], entry["md5"], cached)
