"""The tracked files of one version of the project: of a commit, or of the workspace as it stands."""

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from darkroom.core.errors import DarkroomError


@dataclass(frozen=True)
class Revision:
    """A version; `commit` is its full hash, or "" for the workspace."""

    name: str
    commit: str

    def read(self, path: str) -> bytes | None:
        """The contents of a file, by its path in the project's folder; None where there is none."""
        if self.commit:
            blob = _tree(self.commit, os.getcwd()).get(path)
            return _contents(blob) if blob else None
        file = Path(path)
        return file.read_bytes() if file.is_file() else None

    def files(self, folder: str) -> list[str]:
        """The paths of the files in a folder and below, sorted."""
        if self.commit:
            return sorted(path for path in _tree(self.commit, os.getcwd()) if path.startswith(f"{folder}/"))
        return sorted(path.as_posix() for path in Path(folder).rglob("*") if path.is_file())

    def tracked(self, folder: str) -> list[str]:
        """Those of `files` that git has, or would have with the next commit."""
        if self.commit:
            return self.files(folder)
        listed = os.fsdecode(_git("--literal-pathspecs", "ls-files", "-z", "--", f"{folder}/").stdout).split("\0")[:-1]
        return sorted({path for path in listed if Path(path).is_file()})


WORKSPACE = Revision("the workspace", "")


def find(name: str) -> Revision:
    """The revision that git knows by this name; raises DarkroomError where it knows none."""
    done = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if done.returncode == 0:
        return Revision(name, done.stdout.decode().strip())
    shallow = _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
    remedy = (
        "this clone is shallow: `git fetch --unshallow` brings the history"
        if shallow
        else "`git branch -a` and `git log` list what there is"
    )
    raise DarkroomError(f"git knows no revision {name!r} here: {remedy}.")


def changed(old: Revision, new: Revision) -> list[str]:
    """The paths of the files that differ between a commit and another revision, sorted; in the workspace also what git neither has nor ignores.

    A folder of which git has nothing is one path, with a slash at its end.
    """
    done = _git("diff", "--name-only", "--relative", "-z", old.commit, *([new.commit] if new.commit else []), "--")
    added = (
        b""
        if new.commit
        else _git("ls-files", "--others", "--exclude-standard", "--directory", "--no-empty-directory", "-z").stdout
    )
    return sorted(set(os.fsdecode(done.stdout + added).split("\0")[:-1]))


def place() -> tuple[Path, str]:
    """The folder of the git repository that the working directory lies in, and the path from there to here."""
    top, prefix = _git("rev-parse", "--show-toplevel", "--show-prefix").stdout.decode().split("\n")[:2]
    return Path(top), prefix


@cache  # a commit does not change, and each call of git costs milliseconds
def _tree(commit: str, folder: str) -> dict[str, str]:
    """The files of a commit in `folder`, the working directory, and below: git's name for the contents of each, by its path from there."""
    entries = (
        entry.split("\t", 1) for entry in os.fsdecode(_git("ls-tree", "-r", "-z", commit, "./").stdout).split("\0")[:-1]
    )
    return {path: described.split()[2] for described, path in entries if " blob " in described}


@cache
def _contents(blob: str) -> bytes:
    return _git("cat-file", "blob", blob).stdout


def _git(*arguments: str) -> subprocess.CompletedProcess:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise DarkroomError("The command git is not on this machine: install it.") from None
    if b"not a git repository" in done.stderr:
        raise DarkroomError(
            f"{Path.cwd()} is in no git repository: change into the project's folder, or run `git init`."
        )
    return done
