"""A clean clone of a commit in a temporary folder, in which its pipeline runs as on a new machine."""

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

# Variables of a git hook or a running stage, which point outside the clone
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "DVC_STAGE", "DVC_ROOT")


@dataclass(frozen=True)
class Clone:
    """The project's folder in a clone, and the environment for the commands that run there."""

    project: Path
    environment: Mapping[str, str]


@contextlib.contextmanager
def clone(found: Revision, keep: bool) -> Iterator[Clone]:
    """A clone of the working directory's repository with a commit checked out; removed at the end unless `keep`."""
    top, prefix = revision.place()
    folder = Path(tempfile.mkdtemp(prefix="darkroom-verify-"))
    settings = {
        # The stages run `python`, which must be this one
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / "dvc"),
    }
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN} | settings
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
    """Bring the files at these paths of the working tree that the clone lacks; return how many, by path.

    Uses hard links within one file system, so nothing is copied; the index of a data set rejects symbolic links.
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
    """Those of the paths that differ from the clone's dvc.lock: "modified", or "deleted" if they are missing."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"],
        cwd=within.project,
        env=within.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = _last_line(done.stderr)
        raise DarkroomError(
            f"`dvc status` failed in the clone ({reason}): commit .dvc/config and dvc.yaml, then retry."
        )
    entries = [entry for stage in json.loads(done.stdout).values() for entry in stage if isinstance(entry, dict)]
    return {path: how for entry in entries for path, how in entry.get("changed deps", {}).items() if path in paths}


def reproduce(within: Clone) -> None:
    """Run all stages of the pipeline and show their output; if this process is interrupted, they stop too.

    DVC takes nothing from its cache and adds nothing to it. Raises DarkroomError if a stage fails.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-commit"]
    process = subprocess.Popen(
        command, cwd=within.project, env=within.environment, stdin=subprocess.DEVNULL, process_group=0
    )
    try:
        code = process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the stages too: nothing in the clone needs an orderly shutdown
        process.wait()
        raise
    if code:
        raise DarkroomError("A stage failed in the clone (see above): correct it and retry; --keep keeps the clone.")


def _git(environment: Mapping[str, str], *arguments: str) -> None:
    done = subprocess.run(["git", *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DarkroomError(f"git could not clone the repository: {_last_line(done.stderr)}.")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
