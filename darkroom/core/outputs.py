"""Write files and folders atomically.

Each is written under a temporary name beside its destination, flushed to the disk, and then renamed. An earlier version
stays in place until the new one is complete, even if the writer is killed or the disk is full.
"""

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.core.errors import DarkroomError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TEMPORARY = ".tmp-"  # prefix of files and folders that are still being written; git and DVC ignore it


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; move it to `path` on success, remove it on failure."""
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


def require_replaceable(folder: str | Path, names: Iterable[str]) -> None:
    """Raise DarkroomError if `folder`, which a user named, is a file or holds anything but files of these names."""
    folder = Path(folder)
    if not folder.name or folder.is_file():
        raise DarkroomError(f"{folder} is not a folder that can be replaced: name a new one.")
    held = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if unknown := sorted(held - {*names, ".DS_Store"}):
        raise DarkroomError(f"{folder} holds {unknown[0]}, which this command did not write: name another folder.")


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; replace the folder `path` by it on success, remove it on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{TEMPORARY}{path.name}-aside")  # holds the old folder between the two renames
    if aside.exists() and not path.exists():  # a writer was killed between the two renames
        os.rename(aside, path)
    remove_leftovers(path)
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for file in temporary.rglob("*"):
            _flush(file)
        if path.exists():  # a folder cannot be renamed onto one that is not empty: the old one is moved aside first
            os.rename(path, aside)
            os.rename(temporary, path)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(temporary, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8 with LF line ends."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON, in its own order; raise ValueError for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file that a stage wrote; raise DarkroomError if it is missing or not valid JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DarkroomError(f"{path} cannot be read ({error}): run `dvc repro` to write it again.") from error


def write_csv(path: str | Path, table: "pd.DataFrame") -> None:
    """Write the table to `path` atomically, without its index; floats have six significant digits."""
    with new_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def write_array(path: str | Path, count: int, blocks: "Iterable[np.ndarray]") -> None:
    """Write a .npy file of `count` rows, which come in `blocks` (n, ...), at least one; not atomically.

    Raises OSError if the disk is full, where a mapped file would end the process, and `np.save` would not say why.
    """
    import numpy as np

    with open(path, "wb") as file:
        for block in blocks:
            if not file.tell():
                descr = np.lib.format.dtype_to_descr(block.dtype)
                header = {"descr": descr, "fortran_order": False, "shape": (count, *block.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(block))


def remove_leftovers(path: str | Path) -> None:
    """Remove the temporary files and folders that killed writers of `path` left beside it."""
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
