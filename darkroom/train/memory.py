"""How much memory this process may still take, by the machine and its control groups, and that it keeps what it has taken."""

import ctypes
import platform
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

_MEMBERSHIPS = Path("/proc/self/cgroup")  # a line a hierarchy: number:controllers:path; see cgroups(7)
_GROUPS = Path("/sys/fs/cgroup")
_FILES = {  # limit, use, and how the counters' names begin, by the controllers of a hierarchy: version 2's, version 1's
    "": ("memory.max", "memory.current", ""),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}


def free(device: torch.device) -> int:
    """Bytes that are free on the device; on a CPU what the machine has, or less where a control group of this process leaves less."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return max(0, min([psutil.virtual_memory().available, *_left_by_groups()]))


def groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """The folders of the memory groups that this process is in, the innermost first, and how their files are named; some may be missing."""
    try:
        memberships = _MEMBERSHIPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for _, controllers, path in (line.split(":", 2) for line in memberships):
        if controllers in _FILES:
            root = _GROUPS / controllers
            folder = root / path.lstrip("/")
            yield from (
                (place, _FILES[controllers]) for place in (folder, *folder.parents) if place.is_relative_to(root)
            )


def keep_freed() -> None:
    """Tells glibc to keep the memory that large CPU batches free, where this is glibc.

    Otherwise every step hands its activations back to the kernel and pays the page faults anew. Must come before the
    first large allocation. Older versions of glibc accept a smaller threshold only.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        if not any(libc.mallopt(-3, threshold) for threshold in (2**30, 2**25)):  # M_MMAP_THRESHOLD
            return  # the others alone would freeze the threshold where it is
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-2, 2**28)  # M_TOP_PAD


def _left_by_groups() -> Iterator[int]:
    """What the limit of each control group of this process, and of each above those, leaves; cached files count as free."""
    for folder, (limit, used, prefix) in groups():
        try:
            most, taken = (int((folder / name).read_text()) for name in (limit, used))
            counters = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            yield most - taken + sum(int(counters[f"{prefix}{kind}_file"]) for kind in ("active", "inactive"))
        except (
            OSError,
            ValueError,
            KeyError,
        ):  # a folder that a container does not see, or no limit, which reads "max"
            continue
