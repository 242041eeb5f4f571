"""The control groups of Linux that limit this process, such as those of a container; see cgroups(7)."""

from collections.abc import Iterator
from pathlib import Path

_MEMBERSHIPS = Path("/proc/self/cgroup")  # one line per hierarchy, number:controllers:path; no controllers: version 2
_GROUPS = Path("/sys/fs/cgroup")


def folders(controller: str) -> Iterator[tuple[Path, int]]:
    """The folders of this process's groups that may hold limits of `controller`, such as `cpu`, innermost first.

    Each comes with the version of its hierarchy, 1 or 2, which determines the names of its files. Some may not exist: a
    container sees its own group as the root.
    """
    try:
        memberships = _MEMBERSHIPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for _, controllers, path in (line.split(":", 2) for line in memberships):
        if not controllers:
            root, version = _GROUPS, 2
        elif controller in controllers.split(","):
            link = _GROUPS / controller
            root, version = link if link.exists() else _GROUPS / controllers, 1
        else:
            continue
        folder = root / path.lstrip("/")
        yield from ((group, version) for group in (folder, *folder.parents) if group.is_relative_to(root))
