"""The tracked files of one version of the project: a commit, or the workspace as it is."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from darkroom.core.errors import DarkroomError


@dataclass(frozen=True)
class Revision:
    """A version. `commit` is its full hash, or "" for the workspace. All paths are relative to the project's folder."""

    name: str
    commit: str

    def read(self, path: str) -> bytes | None:
        """The contents of a file; None if there is no such file."""
        if self.commit:
            blob = _tree(self.commit, os.getcwd()).get(path)
            return _contents(blob) if blob else None
        file = Path(path)
        return file.read_bytes() if file.is_file() else None

    def is_file(self, path: str) -> bool:
        """Whether there is a file of this path."""
        return path in _tree(self.commit, os.getcwd()) if self.commit else Path(path).is_file()

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder of this path."""
        return self.is_file(path) or (bool(self.files(path)) if self.commit else Path(path).exists())

    def files(self, folder: str) -> list[str]:
        """The paths of the files in a folder and below, sorted."""
        if self.commit:
            return sorted(path for path in _tree(self.commit, os.getcwd()) if path.startswith(f"{folder}/"))
        return sorted(path.as_posix() for path in Path(folder).rglob("*") if path.is_file())

    def tracked(self, path: str) -> list[str]:
        """The file of this path, or the files in the folder, that git has or will have in the next commit; sorted."""
        if self.commit:
            return [path] if self.is_file(path) else self.files(path)
        listed = os.fsdecode(_git("--literal-pathspecs", "ls-files", "-z", "--", path).stdout).split("\0")[:-1]
        return sorted({path for path in listed if Path(path).is_file()})

    def had(self, path: str) -> bool:
        """Whether git has ever had anything at this path, in this revision or before it."""
        return bool(_git("--literal-pathspecs", "log", "-1", "--format=%H", self.commit or "HEAD", "--", path).stdout)


WORKSPACE = Revision("the workspace", "")


def find(name: str) -> Revision:
    """The revision that git knows by this name. Raises DarkroomError if there is none."""
    done = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if done.returncode == 0:
        return Revision(name, done.stdout.decode().strip())
    if done.stderr:
        raise DarkroomError(f"git cannot look up the revision {name!r}: {done.stderr.decode().splitlines()[0]}.")
    shallow = _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
    remedy = (
        "this clone is shallow; run `git fetch --unshallow`"
        if shallow
        else "`git branch -a` and `git log` list the revisions"
    )
    raise DarkroomError(f"git knows no revision {name!r}: {remedy}.")


def changed(old: Revision, new: Revision) -> list[str]:
    """The paths of the files that differ between a commit and another revision, sorted.

    The workspace includes files that git neither tracks nor ignores; a folder without tracked files is one path, which
    ends in a slash.
    """
    done = _git("diff", "--name-only", "--relative", "-z", old.commit, *([new.commit] if new.commit else []), "--")
    listed = done.stdout
    if not new.commit:
        options = ("--others", "--exclude-standard", "--directory", "--no-empty-directory", "-z")
        listed += _git("ls-files", *options).stdout
    return sorted(set(os.fsdecode(listed).split("\0")[:-1]))


def versions(path: str, heads: Sequence[Revision], limit: int) -> list[Revision]:
    """The commits that introduced the versions of a file, among the last `limit` ancestors of `heads`, latest first."""
    commits = _git("rev-list", f"--max-count={limit}", *(head.commit or "HEAD" for head in heads), "--").stdout
    names = commits.decode().split()
    asked = "".join(f"{name}:./{path}\n" for name in names).encode()
    described = _git("cat-file", "--batch-check", stdin=asked).stdout.decode().splitlines()
    introduced = {}
    for name, line in zip(names, described, strict=False):  # the latest first
        blob, _, kind = line.partition(" ")
        if kind.startswith("blob"):
            introduced[blob] = Revision(name[:12], name)  # an older commit replaces a later one
    return list(introduced.values())


def place() -> tuple[Path, str]:
    """The root of the git repository of the working directory, and the path from there to the working directory."""
    top, prefix = _git("rev-parse", "--show-toplevel", "--show-prefix").stdout.decode().split("\n")[:2]
    return Path(top), prefix


@cache  # a commit does not change, and each call of git costs milliseconds
def _tree(commit: str, folder: str) -> dict[str, str]:
    """The files of a commit in `folder`, which must be the working directory: git's blob of each, by path."""
    listed = os.fsdecode(_git("ls-tree", "-r", "-z", commit, "./").stdout)
    entries = (entry.split("\t", 1) for entry in listed.split("\0")[:-1])
    return {path: described.split()[2] for described, path in entries if " blob " in described}


@cache
def _contents(blob: str) -> bytes:
    return _git("cat-file", "blob", blob).stdout


def _git(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess:
    try:
        environment = {**os.environ, "LC_ALL": "C"}  # its messages are not translated
        done = subprocess.run(["git", *arguments], input=stdin, capture_output=True, check=False, env=environment)
    except FileNotFoundError:
        raise DarkroomError("The command git is not installed: install it.") from None
    if b"not a git repository" in done.stderr:
        raise DarkroomError(
            f"{Path.cwd()} is not in a git repository: change into the project's folder. For a project that was "
            "downloaded as an archive, run `git init && git add . && git commit -m Start`."
        )
    if b"dubious ownership" in done.stderr:
        raise DarkroomError(
            f"git does not read {Path.cwd()}, because another user owns it. If you trust its contents, run "
            f"`git config --global --add safe.directory {shlex.quote(str(Path.cwd()))}`."
        )
    return done
