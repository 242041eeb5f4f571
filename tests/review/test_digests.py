"""Digests and findings against DVC itself, on a small repository that it ran."""

import shutil
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from darkroom.review import digests, lock, revision
from darkroom.review.lock import Kind
from darkroom.review.revision import WORKSPACE
from tests.repository import commit_all, copy_project, dvc, git

PIPELINE = """
stages:
  read:
    cmd: mkdir -p data/raw && echo 1 > data/raw/é
    params: [data, "model.${model.name}"]
    deps: [room, "data/datasets/${data.dataset}", data/baselines, params.yaml]
    outs: [data/raw]
  write:
    cmd: mkdir -p metrics/b/c && echo 1 > metrics/b/c/a.csv
    params: [preprocess.resize]
    deps: [data/raw, room/net.py]
    metrics: [metrics/b: {cache: false}]
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository after `dvc repro` and a commit. Not to be changed."""
    folder = copy_project(tmp_path_factory.mktemp("built"))
    for path in ("room/net.py", "room/a-b/é.py", "room/a/b.py", "room/a.py", "data/datasets/mnist/dataset.yaml"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["data"] = {"dataset": "mnist"}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    (folder / "dvc.yaml").write_text(PIPELINE)
    commit_all(folder)
    dvc(folder, "repro")
    commit_all(folder)
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the built repository that a test may change."""
    copy = shutil.copytree(built, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(copy)
    return copy


def test_the_digests_of_folders_and_files_are_those_of_dvc(project: Path):
    locked = lock.stages(WORKSPACE)
    entries = [entry for stage in locked.values() for kind in ("deps", "outs") for entry in stage[kind]]
    assert {entry["path"]: digests.digest(WORKSPACE, entry["path"]) for entry in entries} == {
        entry["path"]: entry["md5"] for entry in entries
    }
    committed = revision.find("HEAD")
    assert all(digests.digest(committed, entry["path"]) in (entry["md5"], None) for entry in entries)
    assert digests.digest(committed, "room") == digests.digest(WORKSPACE, "room")
    assert lock.mismatches(WORKSPACE) == lock.mismatches(committed) == []


CHANGES = {
    "a changed file": {"room/a/b.py": "other"},
    "a deleted file": {"room/a/b.py": None},
    "a new file": {"room/new.py": "new"},
    "a new folder": {"room/new/new.py": "new"},
    "a renamed file": {"room/a.py": None, "room/z.py": "room/a.py"},
    "compiled and temporary files": {"room/__pycache__/a.pyc": "1", "room/b.pyc": "2", "room/.tmp-a": "3"},
    "raw files of a built-in data set": {"data/datasets/mnist/train.gz": "1"},
    "corrected labels of a built-in data set": {"data/datasets/mnist/labels.csv": "id,label"},
    "a deleted baseline": {"data/baselines/mnist.csv": None},
    "a changed metric": {"metrics/b/c/a.csv": "2"},
    "a deleted metric": {"metrics/b/c/a.csv": None},
    "a file that two stages read": {"room/net.py": "other"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_findings_are_those_of_dvc(project: Path, name: str):
    for path, text in CHANGES[name].items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            (project / path).unlink()
        else:
            (project / path).write_text(text)
    if name == "a deleted metric":
        shutil.rmtree(project / "metrics/b")
    assert _found("") == _status(project)
    git(project, "add", "--force", "room", "data/datasets")  # also what .gitignore and .dvcignore name
    commit_all(project)
    assert _found("HEAD") == _status(project)


def test_changed_parameters_are_those_of_dvc(project: Path):
    values = yaml.safe_load((project / "params.yaml").read_text())
    for section, key, value, stages in (
        ("model", "vit", {"depth": 9}, {"read"}),  # params.yaml itself is a dependency of read
        ("preprocess", "resize", "pad", {"read", "write"}),
    ):
        values[section][key] = value
        (project / "params.yaml").write_text(yaml.safe_dump(values))
        assert {finding.stage for finding in lock.mismatches(WORKSPACE)} == set(Repo(project).status()) == stages


def _found(name: str) -> set[tuple[str, str]]:
    side = revision.find(name) if name else WORKSPACE
    words = {
        Kind.DEPENDENCY_CHANGED: "modified",
        Kind.DEPENDENCY_MISSING: "deleted",
        Kind.OUTPUT_CHANGED: "modified",
        Kind.OUTPUT_MISSING: "deleted",
    }
    return {(finding.stage, finding.path, words[finding.kind]) for finding in lock.mismatches(side)}


def _status(project: Path) -> set[tuple[str, str]]:
    """Stage, path and state of everything that DVC calls changed."""
    return {
        (stage, path, state)
        for stage, entries in Repo(project).status().items()
        for entry in entries
        for changed in entry.values()
        for path, state in changed.items()
    }
