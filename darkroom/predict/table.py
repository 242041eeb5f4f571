"""A table in CSV that grows row by row, and goes on where it was when its writer was killed.

Of its columns the first names what the row is of, the last the version of what made it, and the last but one is empty or an error.
"""

import csv
import fcntl
import io
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from darkroom.core.errors import DarkroomError


@dataclass(frozen=True)
class Earlier:
    """The rows that a table has already."""

    hashes: np.ndarray  # (n,) int64 of the paths, sorted: 8 bytes a row, where the paths take a hundred
    errors: int  # rows that have one

    def __contains__(self, path: str) -> bool:
        sought = hash(printable(path))
        place = bisect_left(self.hashes, sought)
        return place < len(self.hashes) and bool(self.hashes[place] == sought)


@contextmanager
def opened(output: str, header: list[str], version: str) -> Iterator[tuple[BinaryIO, Earlier]]:
    """The table to add rows to, on the disk at the end, and the rows that it has; `-` is the standard output.

    Raises DarkroomError where the file is another table, or is being written by another process.
    """
    if output == "-":
        with open(1, "wb", closefd=False) as table:
            table.write(line(header))
            yield table, Earlier(np.array([], np.int64), 0)
        return
    if os.path.exists(output) and not os.path.isfile(output):
        raise DarkroomError(f"{output} is no file: name another --output, or - to print the table.")
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    with open(output, "a+b") as table:
        try:
            fcntl.flock(table, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DarkroomError(
                f"{output} is being written by another run: wait until it ends, or name another --output."
            ) from None
        try:
            earlier = _continue(table, header, version)
        except (ValueError, csv.Error) as reason:
            raise DarkroomError(
                f"{output} cannot be added to ({reason}): name another --output, or move it away."
            ) from None
        yield table, earlier
        table.flush()
        os.fsync(table.fileno())


def _continue(table: BinaryIO, header: list[str], version: str) -> Earlier:
    """What the table holds, once a half-written last row is cut off, and the header written; raises ValueError or csv.Error for another table."""
    table.seek(0)
    rows = _whole_rows(table)
    first, end = next(rows, (None, 0))
    if first is None:
        table.seek(0)
        if not line(header).startswith(table.read(len(line(header)))):
            raise ValueError("it is no table of predictions")
    elif first != header:
        raise ValueError(f"its columns are not {', '.join(header)}")
    hashes, errors = array("q"), 0
    for fields, place in rows:
        if len(fields) != len(header):
            raise ValueError(f"row {len(hashes) + 2} has {len(fields)} columns")
        if fields[-1] != version:
            raise ValueError(f"it has answers of the bundle {fields[-1]}, and this one is {version}")
        hashes.append(hash(fields[0]))
        errors += fields[-2] != ""
        end = place
    table.seek(end)
    if line(["", version]) in table.read():  # the end of a whole row: no half-written one
        raise ValueError(f"row {len(hashes) + 2} is damaged")
    table.truncate(end)
    if not end:
        table.write(line(header))
    return Earlier(np.sort(np.array(hashes, np.int64)), errors)


def _whole_rows(table: BinaryIO) -> Iterator[tuple[list[str], int]]:
    """The rows and where each ends, without a last one that is half-written; raises csv.Error for other damage."""
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
    """The name as UTF-8 can hold it: what Python has as lone surrogates stands as \\udc80 to \\udcff."""
    return name.encode(errors="backslashreplace").decode()


def line(fields: Sequence[str]) -> bytes:
    """A row as the file has it."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(fields)  # a field with any character of this end is quoted
    return text.getvalue().removesuffix("\r\n").encode() + b"\n"
