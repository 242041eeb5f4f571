"""The CPU of this machine."""

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from darkroom.core import control_groups
from darkroom.core.spelling import counted


def cores() -> int:
    """The number of CPU cores that this process may use, by its affinity and the CPU quotas of its control groups."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([usable, *map(math.ceil, _quotas())])


def describe() -> str:
    """Number of cores and name of the CPU, such as `2 cores of AMD EPYC`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    count = cores()
    return f"{counted(count, 'core')} of {name}"


def _quotas() -> Iterator[float]:
    """The limit of each control group that limits CPU time, as a number of cores above 0, such as 1.5."""
    for folder, version in control_groups.folders("cpu"):
        names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        try:
            quota, period = map(int, " ".join((folder / name).read_text() for name in names).split())
        except (OSError, ValueError):  # a folder that the container cannot see, or the limit "max"
            continue
        if quota > 0:  # -1: no limit
            yield quota / period
