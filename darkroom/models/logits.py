"""Logits of many examples and classes: kept in a file if they are many, and read in blocks of rows."""

import math
import mmap
import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

IN_MEMORY = 2**26  # values of a table that is kept in memory: 256 MiB
BLOCK = 2**17  # values of a block of rows; as float64 they fit in the cache of one core


def empty(shape: tuple[int, int]) -> np.ndarray:
    """A table (N, K) float32 to fill; of more than IN_MEMORY values, it is mapped from a file in the current folder.

    The file has no name, so it is gone with the table. After filling a part, call `release`.
    """
    if math.prod(shape) <= IN_MEMORY:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(dir=".") as file:
        if hasattr(os, "posix_fallocate"):  # a full disk raises OSError here; while mapped, it would kill the process
            os.posix_fallocate(file.fileno(), 0, 4 * math.prod(shape))
        return np.asarray(np.memmap(file, np.float32, "r+", shape=shape))


def release(table: np.ndarray) -> None:
    """Take the pages of a mapped table, or of a view of one, out of the memory of this process; they stay readable."""
    while isinstance(table.base, np.ndarray):
        table = table.base
    if isinstance(table.base, mmap.mmap):
        table.base.madvise(mmap.MADV_DONTNEED)


def by_rows(of: Callable[..., Any], *tables: Any) -> Any:
    """What `of` says of the rows of tables of N rows, computed for a block of rows at a time.

    The first table is (N, K), and a block has at most BLOCK of its values. `of` gets the same rows of each table, and
    returns an array (n, ...) or a tuple of them, which are joined. It must treat each row alone, so that the result
    does not depend on the blocks.
    """
    first = tables[0]
    size = max(1, BLOCK // max(1, first.shape[1]))
    found = []
    for start in range(0, max(1, len(first)), size):
        found.append(of(*(table[start : start + size] for table in tables)))
        for table in tables:
            release(getattr(table, "logits", table))
    if isinstance(found[0], tuple):
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
    return np.concatenate(found)
