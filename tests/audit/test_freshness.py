import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.audit import freshness
from tests.repository import change, commit_all, copy_project, dvc

MINE = "data/datasets/mine"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preprocessed repository with a folder of images. Not to be changed."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    change(folder, data={"dataset": "mine"})
    commit_all(folder)
    random = np.random.default_rng(0)
    for number in range(40):
        path = folder / MINE / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(256, size=(8, 8), dtype=np.uint8)).save(path)
    dvc(folder, "repro", "preprocess")
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(built, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def test_current_arrays_give_no_notice(project: Path):
    assert freshness.notice() == ""
    change(project, train={"lr": 0.1})
    (project / "darkroom/core/errors.py").write_text((project / "darkroom/core/errors.py").read_text() + "\n")
    assert freshness.notice() == ""


def test_a_changed_folder_is_named(project: Path):
    (project / MINE / "a/00.png").unlink()
    assert f"changed: {MINE}." in freshness.notice()
    shutil.rmtree(project / MINE)
    assert f"changed: {MINE}." in freshness.notice()


def test_changed_parameters_are_named(project: Path):
    change(project, preprocess={"image_size": 16})
    assert "changed: preprocess." in freshness.notice()
    (project / "data/datasets/other").mkdir()
    change(project, data={"dataset": "other"})
    assert "changed: data/datasets/other, data, preprocess." in freshness.notice()


def test_other_arrays_than_those_in_the_lock_file_are_noticed(project: Path):
    (project / "data/arrays/manifest.json").write_text("{}")
    assert "dvc.lock" in freshness.notice()
    (project / "dvc.lock").unlink()
    assert "dvc.lock" in freshness.notice()


def test_without_dvc_there_is_no_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert freshness.notice() == ""
