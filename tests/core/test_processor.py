import os
from pathlib import Path

import pytest

from darkroom.core import control_groups, processor


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of made-up control groups on a machine with 8 cores."""
    monkeypatch.setattr(control_groups, "_MEMBERSHIPS", tmp_path / "memberships")
    monkeypatch.setattr(control_groups, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path / "groups"


def write_memberships(groups: Path, *lines: str) -> None:
    groups.with_name("memberships").write_text("".join(f"{line}\n" for line in lines))


def write_group(folder: Path, quota: int | str, period: int = 100_000, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (folder / "cpu.max").write_text(f"{quota} {period}\n")
    else:
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= processor.cores() <= (os.cpu_count() or 1)


def test_without_groups_or_quotas_all_cores_of_the_affinity_count(groups: Path):
    assert processor.cores() == 8
    write_memberships(groups, "0::/mine")
    assert processor.cores() == 8
    write_group(groups / "mine", "max")
    assert processor.cores() == 8
    (groups / "mine" / "cpu.max").write_text("")
    assert processor.cores() == 8


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [
        (200_000, 100_000, 2),
        (150_000, 100_000, 2),  # docker --cpus=1.5
        (10_000, 100_000, 1),
        (50_000, 25_000, 2),
        (800_001, 100_000, 8),
        (6_400_000, 100_000, 8),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_quota_limits_the_cores(groups: Path, quota: int, period: int, cores: int, version: int):
    write_memberships(groups, "2:cpu,cpuacct:/docker/1" if version == 1 else "0::/docker/1")
    root = groups / "cpu,cpuacct" if version == 1 else groups
    write_group(root / "docker" / "1", quota, period, version)
    assert processor.cores() == cores
    assert processor.describe().startswith("1 core of " if cores == 1 else f"{cores} cores of ")


def test_the_smallest_quota_of_all_groups_and_the_affinity_counts(groups: Path, monkeypatch: pytest.MonkeyPatch):
    write_memberships(groups, "0::/pod/container")
    write_group(groups / "pod" / "container", 600_000)
    write_group(groups / "pod", 300_000)
    assert processor.cores() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert processor.cores() == 2


def test_a_container_sees_its_own_group_as_the_root(groups: Path):
    write_memberships(groups, "0::/")
    write_group(groups, 200_000)
    assert processor.cores() == 2
    write_memberships(groups, "4:memory:/docker/1", "3:cpuacct,cpu:/docker/1", "0::/elsewhere/1")
    write_group(groups / "cpu", 300_000, version=1)  # the usual link to the folder of both controllers
    write_group(groups, "max")
    assert processor.cores() == 3


def test_no_quota_in_version_1_is_minus_1(groups: Path):
    write_memberships(groups, "3:cpu:/")
    write_group(groups / "cpu", -1, version=1)
    assert processor.cores() == 8


def test_the_description_starts_with_the_number_of_cores():
    count, word, of, name = processor.describe().split(" ", 3)
    assert (int(count), of) == (processor.cores(), "of") and word == ("core" if count == "1" else "cores") and name
