"""The CPU of this machine."""

import os
import platform
from pathlib import Path

from darkroom.core.spelling import counted


def cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> str:
    """Number of cores and name of the CPU, such as `2 cores of AMD EPYC`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    count = cores()
    return f"{counted(count, 'core')} of {name}"
