"""Digests of files and folders as DVC computes them, for a commit or the workspace, without DVC."""

import hashlib
import json
from functools import cache
from pathlib import Path

from pathspec import GitIgnoreSpec

from darkroom.review.revision import Revision

IGNORE = ".dvcignore"


def digest(revision: Revision, path: str) -> str | None:
    """The digest of a file or folder of `revision`; None if there is neither.

    A folder's is the MD5 of a JSON list of its files, and ends in `.dir`. Files that .dvcignore names do not count.
    """
    if revision.is_file(path):
        return _file_digest(revision, path)
    files = counted(revision, path)
    if not files:
        return None
    entries = [{"md5": _file_digest(revision, file), "relpath": file.removeprefix(f"{path}/")} for file in files]
    return _md5(json.dumps(sorted(entries, key=lambda entry: entry["relpath"])).encode()) + ".dir"


def counted(revision: Revision, folder: str) -> list[str]:
    """The paths of the files in a folder and below that DVC counts, sorted."""
    return [path for path in revision.files(folder) if not is_ignored(revision, path)]


def is_ignored(revision: Revision, path: str) -> bool:
    """Whether .dvcignore of the project's folder excludes a file."""
    return _patterns(revision.read(IGNORE) or b"").match_file(path)


@cache
def _patterns(contents: bytes) -> GitIgnoreSpec:
    return GitIgnoreSpec.from_lines(contents.decode(errors="replace").splitlines())


def _file_digest(revision: Revision, path: str) -> str:
    if revision.commit:
        return _md5(revision.read(path) or b"")
    with Path(path).open("rb") as file:  # in blocks: files of data sets may be larger than memory
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _md5(contents: bytes) -> str:
    return hashlib.md5(contents, usedforsecurity=False).hexdigest()
