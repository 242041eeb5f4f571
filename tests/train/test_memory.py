from pathlib import Path

import psutil
import pytest
import torch

from darkroom.core import control_groups
from darkroom.train import memory

CPU = torch.device("cpu")


def write_group(folder: Path, limit: str, used: int, cached: int, version: int = 2) -> None:
    """A memory group as the kernel shows it."""
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    prefix = "total_" if version == 1 else ""
    (folder / "memory.stat").write_text(f"anon 7\n{prefix}active_file {cached}\n{prefix}inactive_file 1\n")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(control_groups, "_MEMBERSHIPS", tmp_path / "memberships")
    monkeypatch.setattr(control_groups, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10_000}))
    return tmp_path / "groups"


def write_memberships(groups: Path, *lines: str) -> None:
    groups.with_name("memberships").write_text("".join(f"{line}\n" for line in lines))


def test_without_groups_or_limits_the_memory_of_the_machine_is_free(groups: Path):
    assert memory.free(CPU) == 10_000
    write_memberships(groups, "0::/mine")
    assert memory.free(CPU) == 10_000
    write_group(groups / "mine", "max", 500, 0)
    assert memory.free(CPU) == 10_000


def test_limit_of_a_group_leaves_unused_memory_and_cached_files(groups: Path):
    write_memberships(groups, "0::/user/mine")
    write_group(groups / "user/mine", "5000", 3000, 1000)
    assert memory.free(CPU) == 3001
    write_group(groups / "user", "6000", 5000, 100)  # the parent group leaves less
    assert memory.free(CPU) == 1101
    write_group(groups / "user", "6000", 7000, 100)
    assert memory.free(CPU) == 0


def test_groups_of_version_1(groups: Path):
    write_memberships(groups, "4:memory:/docker/1", "3:cpu,cpuacct:/docker/1", "0::/")
    write_group(groups / "memory", "4000", 1000, 500, version=1)  # a container sees its own group as the root
    assert memory.free(CPU) == 3501


def test_free_memory_of_a_gpu_is_that_of_the_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (123, 456))
    assert memory.free(torch.device("cuda")) == 123
