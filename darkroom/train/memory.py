"""Free memory of this process, within the limits of its control groups."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from darkroom.core import control_groups

# By the version of the control groups: files of limit and use, prefix of counters in memory.stat.
_FILES = {
    2: ("memory.max", "memory.current", ""),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}


def free(device: torch.device) -> int:
    """Bytes that are free on `device`; on a CPU within the limits of this process's control groups."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return max(0, min([psutil.virtual_memory().available, *_free_in_groups()]))


def groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """The folders of this process's memory groups, innermost first, with their entry of _FILES; some may not exist."""
    return ((folder, _FILES[version]) for folder, version in control_groups.folders("memory"))


def _free_in_groups() -> Iterator[int]:
    """The free bytes of each control group with a limit; cached files count as free."""
    for folder, (limit, used, prefix) in groups():
        try:
            maximum, taken = (int((folder / name).read_text()) for name in (limit, used))
            counters = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            yield maximum - taken + sum(int(counters[f"{prefix}{kind}_file"]) for kind in ("active", "inactive"))
        except (OSError, ValueError, KeyError):  # a folder that the container cannot see, or the limit "max"
            continue
