"""The tracked files of one version of the project: of a commit, or of the workspace as it stands."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from darkroom.errors import DarkroomError


@dataclass(frozen=True)
class Revision:
    """A version; `commit` is its full hash, or "" for the workspace."""

    name: str
    commit: str

    def read(self, path: str) -> bytes | None:
        """The contents of a file, by its path in the project's folder; None where there is none."""
        if self.commit:
            done = _git("cat-file", "blob", f"{self.commit}:./{path}")
            return done.stdout if done.returncode == 0 else None
        file = Path(path)
        return file.read_bytes() if file.is_file() else None

    def files(self, folder: str) -> list[str]:
        """The paths of the files in a folder and below, sorted."""
        if self.commit:
            return sorted(_git("ls-tree", "-r", "-z", "--name-only", self.commit, f"./{folder}/").stdout.decode().split("\0")[:-1])
        return sorted(path.as_posix() for path in Path(folder).rglob("*") if path.is_file())


WORKSPACE = Revision("the workspace", "")


def find(name: str) -> Revision:
    """The revision that git knows by this name; raises DarkroomError where it knows none."""
    done = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if done.returncode == 0:
        return Revision(name, done.stdout.decode().strip())
    shallow = _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
    remedy = "this clone is shallow: `git fetch --unshallow` brings the history" if shallow else "`git branch -a` and `git log` list what there is"
    raise DarkroomError(f"git knows no revision {name!r} here: {remedy}.")


def changed(old: Revision, new: Revision) -> list[str]:
    """The paths of the tracked files that differ between a commit and another revision, sorted."""
    done = _git("diff", "--name-only", "--relative", "-z", old.commit, *([new.commit] if new.commit else []), "--")
    return sorted(done.stdout.decode().split("\0")[:-1])


def _git(*arguments: str) -> subprocess.CompletedProcess:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise DarkroomError("The command git is not on this machine: install it.") from None
    if b"not a git repository" in done.stderr:
        raise DarkroomError(f"{Path.cwd()} is in no git repository: change into the project's folder, or run `git init`.")
    return done
