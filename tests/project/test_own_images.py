"""A user's folder of images under DVC: every change of it is noticed, and nothing that DVC does loses an image."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.repository import change, commit_all, copy_project, dvc, git

MINE = "data/datasets/mine"
FIRST = ["check", "fetch", "preprocess"]
KEPT = ["data/raw", "data/arrays"]
TOO_MANY = "preprocess.max_bad_fraction"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, preprocessed, with 45 images of three classes that nothing tracks. Not to be changed."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    change(folder, data={"dataset": "mine"}, preprocess={"max_bad_fraction": 0.1})
    commit_all(folder)
    random = np.random.default_rng(0)
    for number in range(45):
        path = folder / MINE / ("red", "green", "blue")[number % 3] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(100, size=(9, 12, 3), dtype=np.uint8)
        pixels[..., number % 3] += 120
        Image.fromarray(pixels).save(path)
    (folder / MINE / "red" / "broken.png").write_text("not an image")
    before = digests(folder)
    ran, printed = dvc(folder, "repro", "preprocess")
    assert ran == FIRST
    assert "46 images of 3 classes" in printed
    assert digests(folder) == before
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(built, tmp_path / "project", symlinks=True)


@pytest.fixture
def tracked(project: Path) -> Path:
    """The same with the folder of images under `dvc add`, committed."""
    dvc(project, "add", MINE)
    assert dvc(project, "repro", "preprocess")[0] == []
    commit_all(project)
    return project


def digests(folder: Path) -> dict[str, str]:
    """The digest of each of the user's files."""
    files = [path for path in (folder / MINE).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder / MINE)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def manifest(folder: Path) -> dict:
    return json.loads((folder / "data/arrays/manifest.json").read_text())


def test_a_folder_becomes_arrays(built: Path):
    assert manifest(built)["counts"] == {"train": 32, "val": 4, "test": 9}
    findings = pd.read_csv(built / "metrics/data/findings.csv")
    assert findings[["id", "rule", "action"]].to_numpy().tolist() == [["red/broken.png", "unusable", "removed"]]


def test_every_change_is_noticed(project: Path):
    """Once the folder is as it was before, DVC takes its arrays from the cache."""
    file = project / MINE / "red" / "new.png"
    for angle, ran, total in ((90, FIRST[1:], 46), (0, FIRST[1:], 46), (None, [], 45)):
        if angle is None:
            file.unlink()
        else:
            Image.linear_gradient("L").rotate(angle).save(file)
        before = digests(project)
        assert MINE in dvc(project, "status")[1]
        assert dvc(project, "repro", "preprocess")[0] == ran
        assert sum(manifest(project)["counts"].values()) == total
        assert digests(project) == before


def test_experiments_leave_the_images_alone(project: Path):
    before = digests(project)
    size = ("-S", "preprocess.image_size=8", "-S", "preprocess.color=grey")
    assert dvc(project, "exp", "run", *size, "preprocess")[0] == ["check", "preprocess"]
    assert manifest(project)["shape"] == [8, 8, 1]
    none = ("-S", "preprocess.max_bad_fraction=0")
    assert TOO_MANY in dvc(project, "exp", "run", *none, "preprocess", code=255)[1]
    assert TOO_MANY in dvc(project, "repro", "preprocess", code=255)[1]
    assert "mine" in dvc(project, "exp", "run", "--temp", "preprocess", code=255)[1]  # not tracked, so not there
    some = ("-S", "preprocess.max_bad_fraction=0.1", "-S", "preprocess.resize=pad")
    dvc(project, "exp", "run", "--temp", "-C", MINE, *some, "preprocess")
    assert digests(project) == before
    git(project, "checkout", "--", ".")
    dvc(project, "checkout", "--force", *KEPT)
    assert digests(project) == before


def test_a_tracked_folder_travels_to_temporary_runs_and_back(tracked: Path):
    before = digests(tracked)
    dvc(tracked, "exp", "run", "--temp", "-n", "elsewhere", "-S", "preprocess.resize=pad", "preprocess")
    dvc(tracked, "exp", "run", "--queue", "-S", "preprocess.resize=crop", "preprocess")
    dvc(tracked, "exp", "run", "--run-all")
    assert digests(tracked) == before
    dvc(tracked, "exp", "apply", "elsewhere", code=255)  # nothing was trained, so DVC misses the models
    assert "resize: pad" in (tracked / "params.yaml").read_text()
    git(tracked, "checkout", "--", ".")
    dvc(tracked, "checkout", "--force", *KEPT)
    assert digests(tracked) == before


def test_a_tracked_folder_travels_to_a_clone(tracked: Path, tmp_path: Path):
    before = digests(tracked)
    dvc(tracked, "remote", "add", "--default", "here", str(tmp_path / "remote"))
    dvc(tracked, "push", MINE)
    commit_all(tracked)
    clone = tmp_path / "clone"
    git(tracked, "clone", "--quiet", ".", str(clone))
    dvc(clone, "pull", MINE)
    assert digests(clone) == before
    assert dvc(clone, "repro", "preprocess")[0] == FIRST
    changed = {line[3:] for line in git(clone, "diff", "dvc.lock").splitlines() if line.startswith(("+  ", "-  "))}
    assert all("md5:" in line or "size:" in line for line in changed)  # of the costs, which no run repeats
    assert git(clone, "diff", "--stat", "--", "metrics", ":!metrics/cost") == ""


def test_a_folder_elsewhere_is_imported_through_dvc(tracked: Path, tmp_path: Path):
    elsewhere = shutil.copytree(tracked / MINE, tmp_path / "store" / "mine")
    before = {path.relative_to(elsewhere): path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    dvc(tracked, "import-url", str(elsewhere), "data/datasets/imported")
    printed = dvc(tracked, "exp", "run", "-S", "data.dataset=imported", "preprocess")[1]
    assert "46 images of 3 classes" in printed
    assert {path.relative_to(elsewhere): path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before
    assert dvc(tracked, "repro", "preprocess")[0] == []


def test_a_deleted_folder_is_restored_from_the_cache(tracked: Path):
    before = digests(tracked)
    shutil.rmtree(tracked / MINE)
    dvc(tracked, "checkout", f"{MINE}.dvc")
    assert digests(tracked) == before
