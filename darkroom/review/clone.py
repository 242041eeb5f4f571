"""A clean clone of a commit in a temporary folder, in which its pipeline runs as on a machine that has never seen the project."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from darkroom.core.errors import DarkroomError
from darkroom.review import revision
from darkroom.review.revision import WORKSPACE, Revision

_OF_A_HOOK = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "DVC_STAGE",
    "DVC_ROOT",
)  # variables that would lead out of the clone


@dataclass(frozen=True)
class Clone:
    """The project's folder in a clone, and the environment of what runs there."""

    project: Path
    environment: Mapping[str, str]


@contextlib.contextmanager
def clone(found: Revision, keep: bool) -> Iterator[Clone]:
    """Clones the repository that the working directory lies in and checks a commit out; the clone is removed in the end unless `keep`."""
    top, prefix = revision.place()
    folder = Path(tempfile.mkdtemp(prefix="darkroom-verify-"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"  # the stages' `python` is this one
    settings = {
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / "dvc"),
    }
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK} | settings
    try:
        _git(environment, "clone", "--quiet", "--shared", "--no-checkout", str(top), str(folder / top.name))
        _git(environment, "-C", str(folder / top.name), "checkout", "--quiet", "--detach", found.commit)
        yield Clone(folder / top.name / prefix, environment)
    finally:
        if keep:
            print(f"The clone is kept in {folder / top.name / prefix}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def bring(paths: set[str], into: Clone) -> dict[str, int]:
    """Brings what lies at these paths in the working tree and not in the clone there; returns how many files, by path.

    By hard links where it is one file system, so that nothing is copied: other links the index of pictures refuses, rightly.
    """
    brought = {}
    for path in sorted(paths):
        files = [path] if Path(path).is_file() else WORKSPACE.files(path)
        missing = [file for file in files if not (into.project / file).exists()]
        for file in missing:
            target = into.project / file
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(Path(file).resolve(), target)
            except OSError:
                shutil.copyfile(file, target)
        if missing:
            brought[path] = len(missing)
    return brought


def changed_inputs(paths: set[str], within: Clone) -> dict[str, str]:
    """Those of the paths that are not what the clone's dvc.lock says was read: "modified", or "deleted" where they are missing."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"],
        cwd=within.project,
        env=within.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DarkroomError(
            f"DVC cannot read the clone ({_last_line(done.stderr)}): commit .dvc/config and dvc.yaml, and verify again."
        )
    entries = [entry for stage in json.loads(done.stdout).values() for entry in stage if isinstance(entry, dict)]
    return {path: how for entry in entries for path, how in entry.get("changed deps", {}).items() if path in paths}


def reproduce(within: Clone) -> None:
    """Runs all stages of the pipeline, whose output is seen as it comes; whatever stops this process stops them.

    Forced, so DVC takes nothing from its cache, nor does it leave anything there. Raises DarkroomError where a stage fails.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-commit"]
    process = subprocess.Popen(
        command, cwd=within.project, env=within.environment, stdin=subprocess.DEVNULL, process_group=0
    )
    try:
        code = process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the stages too: nothing in the clone is worth an orderly end
        process.wait()
        raise
    if code:
        raise DarkroomError(
            "A stage failed in the clone, as is said above: put that right and verify again (with --keep the clone stays, to look into)."
        )


def _git(environment: Mapping[str, str], *arguments: str) -> None:
    done = subprocess.run(["git", *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DarkroomError(
            f"git could not clone the repository ({_last_line(done.stderr)}): put that right and verify again."
        )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
