"""A CSV table that grows row by row and can be resumed after an interruption.

The first column identifies the row, the last but one holds an error or is empty, and the last is the version of what
wrote the row.
"""

import csv
import fcntl
import io
import os
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from darkroom.core.errors import DarkroomError


@dataclass(frozen=True)
class Earlier:
    """The rows that a table already has."""

    hashes: np.ndarray  # (n,) int64 of the paths, sorted: 8 bytes per row; paths would take about 100
    errors: int  # rows with an error

    def __contains__(self, path: str) -> bool:
        sought = hash(printable(path))
        index = bisect_left(self.hashes, sought)
        return index < len(self.hashes) and bool(self.hashes[index] == sought)


def inputs(paths: Sequence[Path], find: Callable[[Path], list[Path]], output: str) -> list[Path]:
    """The files at `paths`, and those that `find` finds in folders; without the file `output`, which is written."""
    found = [file for path in paths for file in (find(path) if path.is_dir() else [path])]
    return [file for file in found if not (os.path.exists(output) and file.exists() and file.samefile(output))]


@contextmanager
def opened(output: str, header: list[str], version: str) -> Iterator[tuple[BinaryIO, Earlier]]:
    """Open the table for more rows, and read those it has; `-` is the standard output. At the end, flush to the disk.

    Raises DarkroomError if the file is another table, or if another process is writing it.
    """
    if output == "-":
        with open(1, "wb", closefd=False) as table:
            table.write(line(header))
            yield table, Earlier(np.array([], np.int64), 0)
        return
    if os.path.exists(output) and not os.path.isfile(output):
        raise DarkroomError(f"{output} is not a file: choose another --output, or - to print the table.")
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    with open(output, "a+b") as table:
        try:
            fcntl.flock(table, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DarkroomError(
                f"{output} is being written by another process: wait until it ends, or choose another --output."
            ) from None
        try:
            earlier = _resume(table, header, version)
        except (ValueError, csv.Error) as reason:
            raise DarkroomError(
                f"{output} cannot be extended ({reason}): choose another --output, or move the file away."
            ) from None
        yield table, earlier
        table.flush()
        os.fsync(table.fileno())


def _resume(table: BinaryIO, header: list[str], version: str) -> Earlier:
    """Read the rows, cut off an incomplete last row, and write a missing header.

    Raises ValueError or csv.Error if it is another table.
    """
    table.seek(0)
    rows = _complete_rows(table)
    first, end = next(rows, (None, 0))
    if first is None:
        table.seek(0)
        if not line(header).startswith(table.read(len(line(header)))):
            raise ValueError("not a table of predictions")
    elif first != header:
        raise ValueError(f"columns are not {', '.join(header)}")
    hashes, errors = array("q"), 0
    for fields, row_end in rows:
        if len(fields) != len(header):
            raise ValueError(f"row {len(hashes) + 2} has {len(fields)} columns")
        if fields[-1] != version:
            raise ValueError(f"predictions are from bundle {fields[-1]}, and this is {version}")
        hashes.append(hash(fields[0]))
        errors += fields[-2] != ""
        end = row_end
    table.seek(end)
    if line(["", version]) in table.read():  # the end of a row follows, so this is not an incomplete last row
        raise ValueError(f"row {len(hashes) + 2} is damaged")
    table.truncate(end)
    if not end:
        table.write(line(header))
    return Earlier(np.sort(np.array(hashes, np.int64)), errors)


def _complete_rows(table: BinaryIO) -> Iterator[tuple[list[str], int]]:
    """Yield each row and its end, without an incomplete last row; raises csv.Error for other damage."""
    read, end = b"", 0

    def lines() -> Iterator[str]:
        nonlocal read, end
        for read in table:
            end += len(read)
            yield read.decode(errors="replace")

    rows = csv.reader(lines(), strict=True)
    try:
        for fields in rows:
            if read.endswith(b"\n"):
                yield fields, end
    except csv.Error:
        if table.read(1):
            raise


def printable(name: str) -> str:
    """The name as valid UTF-8: lone surrogates are written as \\udc80 to \\udcff."""
    return name.encode(errors="backslashreplace").decode()


def line(fields: Sequence[str]) -> bytes:
    """A row as bytes of the file; its fields are `printable`."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(fields)  # fields with one of these characters are quoted
    return printable(text.getvalue().removesuffix("\r\n")).encode() + b"\n"
