"""Files and folders that appear whole or not at all.

Everything is first written beside its destination under a temporary name, flushed to the disk, and then renamed.
What was there before stays until what replaces it is whole, whether the writer is killed or the disk fills up.
"""

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.core.errors import DarkroomError

if TYPE_CHECKING:
    import pandas as pd

TEMPORARY = ".tmp-"  # the prefix of everything that is still being written; ignored by git and DVC


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path to fill; on success it is moved to `path`, on failure it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{TEMPORARY}{path.name}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yields a temporary folder to fill; on success it takes the place of the folder `path`, on failure it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{TEMPORARY}{path.name}-aside")  # where the old folder is while the new one takes its place
    if aside.exists() and not path.exists():  # a writer was killed between the two renames
        os.rename(aside, path)
    remove_leftovers(path)
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for file in temporary.rglob("*"):
            _flush(file)
        if path.exists():  # a folder cannot be renamed onto a full one: the old one steps aside first
            os.rename(path, aside)
            os.rename(temporary, path)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(temporary, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8 with LF line ends, whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` to `path` as strict JSON: sorted as given, indented, and refused (ValueError) if it holds NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """What `write_json` wrote to `path`; raises DarkroomError where it is missing or is no JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DarkroomError(f"{path} cannot be read ({error}): run `dvc repro` to make it anew.") from error


def write_csv(path: str | Path, table: "pd.DataFrame") -> None:
    """Writes the table to `path`, without its index, its floats with six digits, whole or not at all."""
    with new_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def remove_leftovers(path: str | Path) -> None:
    """Removes what killed writers of `path` left half-written beside it."""
    path = Path(path)
    for leftover in path.parent.glob(f"{TEMPORARY}{glob.escape(path.name)}-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
