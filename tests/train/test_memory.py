from pathlib import Path

import psutil
import pytest
import torch

from darkroom.train import memory

CPU = torch.device("cpu")


def group(folder: Path, limit: str, used: int, cached: int, first: bool = False) -> None:
    """A memory group as the kernel shows it, of version 1 or 2."""
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if first else ("memory.max", "memory.current")
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    prefix = "total_" if first else ""
    (folder / "memory.stat").write_text(f"anon 7\n{prefix}active_file {cached}\n{prefix}inactive_file 1\n")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_MEMBERSHIPS", tmp_path / "memberships")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10_000}))
    return tmp_path / "groups"


def member(groups: Path, *lines: str) -> None:
    groups.with_name("memberships").write_text("".join(f"{line}\n" for line in lines))


def test_without_groups_or_limits_the_machines_memory_is_free(groups: Path):
    assert memory.free(CPU) == 10_000
    member(groups, "0::/mine")
    assert memory.free(CPU) == 10_000
    group(groups / "mine", "max", 500, 0)
    assert memory.free(CPU) == 10_000


def test_a_groups_limit_leaves_what_is_not_used_or_is_a_cached_file(groups: Path):
    member(groups, "0::/user/mine")
    group(groups / "user/mine", "5000", 3000, 1000)
    assert memory.free(CPU) == 3001
    group(groups / "user", "6000", 5000, 100)  # the group above leaves less
    assert memory.free(CPU) == 1101
    group(groups / "user", "6000", 7000, 100)
    assert memory.free(CPU) == 0


def test_groups_of_version_1(groups: Path):
    member(groups, "4:memory:/docker/1", "3:cpu,cpuacct:/docker/1", "0::/")
    group(groups / "memory", "4000", 1000, 500, first=True)  # a container sees its own group as the root
    assert memory.free(CPU) == 3501


def test_a_gpu_is_asked_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (123, 456))
    assert memory.free(torch.device("cuda")) == 123
