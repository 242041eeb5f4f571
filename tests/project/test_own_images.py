"""A user's folder of pictures under DVC: every change of it is seen, and nothing that DVC does costs a picture.

The tests build on each other, in the order in which they stand.
"""

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
UNTIL = ["fetch", "preprocess"]
KEPT = ["data/raw", "data/arrays"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a folder of 45 coloured pictures of three classes, which neither git nor DVC knows."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    change(folder, data={"dataset": "mine"})
    change(folder, preprocess={"max_bad_fraction": 0.1})
    commit_all(folder)
    random = np.random.default_rng(0)
    for number in range(45):
        path = folder / MINE / ("red", "green", "blue")[number % 3] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(100, size=(9, 12, 3), dtype=np.uint8)
        pixels[..., number % 3] += 120
        Image.fromarray(pixels).save(path)
    (folder / MINE / "red" / "broken.png").write_text("no picture")
    return folder


def pictures(folder: Path) -> dict[str, str]:
    """The digest of each of the user's files."""
    files = [path for path in (folder / MINE).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder / MINE)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def counts(folder: Path) -> dict[str, int]:
    return json.loads((folder / "data/arrays/manifest.json").read_text())["counts"]


def test_a_folder_becomes_arrays(repository: Path):
    before = pictures(repository)
    ran, printed = dvc(repository, "repro", "preprocess")
    assert ran == UNTIL
    assert "mine (unknown): from 46 pictures of 3 classes, 1 of them unusable" in printed
    assert pictures(repository) == before
    assert counts(repository) == {"train": 32, "val": 4, "test": 9}
    findings = pd.read_csv(repository / "metrics/data/findings.csv")
    assert findings[["id", "rule", "done"]].to_numpy().tolist() == [["red/broken.png", "unusable", "left out"]]
    assert dvc(repository, "repro", "preprocess")[0] == []


@pytest.mark.parametrize(("kind", "ran", "total"), [("added", UNTIL, 46), ("changed", UNTIL, 46), ("removed", [], 45)])
def test_every_change_is_seen_and_rebuilds(repository: Path, kind: str, ran: list[str], total: int):
    """A folder that is as it was before is known already: DVC takes its arrays from the cache."""
    file = repository / MINE / "red" / "new.png"
    if kind == "removed":
        file.unlink()
    else:
        Image.linear_gradient("L").rotate(90 if kind == "added" else 0).save(file)
    before = pictures(repository)
    assert MINE in dvc(repository, "status")[1]
    assert dvc(repository, "repro", "preprocess")[0] == ran
    assert sum(counts(repository).values()) == total
    assert pictures(repository) == before


def test_experiments_leave_the_pictures_alone(repository: Path):
    before = pictures(repository)
    assert dvc(repository, "exp", "run", "-S", "preprocess.image_size=8", "-S", "preprocess.color=grey", "preprocess")[
        0
    ] == ["preprocess"]
    assert json.loads((repository / "data/arrays/manifest.json").read_text())["shape"] == [8, 8, 1]
    assert (
        "cannot be used, more than"
        in dvc(repository, "exp", "run", "-S", "preprocess.max_bad_fraction=0", "preprocess", code=255)[1]
    )
    assert "cannot be used, more than" in dvc(repository, "repro", "preprocess", code=255)[1]
    assert (
        MINE in dvc(repository, "exp", "run", "--temp", "preprocess", code=255)[1]
    )  # git and DVC do not know it, so it is not there
    dvc(
        repository,
        "exp",
        "run",
        "--temp",
        "-C",
        MINE,
        "-S",
        "preprocess.max_bad_fraction=0.1",
        "-S",
        "preprocess.resize=pad",
        "preprocess",
    )
    assert pictures(repository) == before
    git(repository, "checkout", "--", ".")
    dvc(repository, "checkout", "--force", *KEPT)
    assert pictures(repository) == before


def test_a_folder_under_dvc_travels_to_other_places_and_back(repository: Path, tmp_path: Path):
    before = pictures(repository)
    dvc(repository, "add", MINE)
    dvc(repository, "repro", "preprocess")
    commit_all(repository)
    dvc(repository, "exp", "run", "--temp", "-n", "elsewhere", "-S", "preprocess.resize=pad", "preprocess")
    dvc(repository, "exp", "run", "--queue", "-S", "preprocess.resize=crop", "preprocess")
    dvc(repository, "exp", "run", "--run-all")
    assert pictures(repository) == before
    dvc(repository, "exp", "apply", "elsewhere", code=255)  # nothing was trained, so DVC misses the models
    assert "resize: pad" in (repository / "params.yaml").read_text()
    git(repository, "checkout", "--", ".")
    dvc(repository, "checkout", "--force", *KEPT)
    assert pictures(repository) == before

    remote = tmp_path / "remote"
    dvc(repository, "remote", "add", "--default", "here", str(remote))
    dvc(repository, "push", MINE)
    commit_all(repository)
    clone = tmp_path / "clone"
    git(repository, "clone", "--quiet", ".", str(clone))
    dvc(clone, "pull", MINE)
    assert pictures(clone) == before
    assert dvc(clone, "repro", "preprocess")[0] == UNTIL
    assert git(clone, "diff", "--stat", "dvc.lock") == ""


def test_a_folder_elsewhere_comes_in_through_dvc(repository: Path, tmp_path: Path):
    elsewhere = shutil.copytree(repository / MINE, tmp_path / "store" / "mine")
    clone = tmp_path / "clone"
    git(repository, "clone", "--quiet", ".", str(clone))
    dvc(clone, "import-url", str(elsewhere), "data/datasets/imported")
    before = {path.relative_to(elsewhere): path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    _, printed = dvc(clone, "exp", "run", "-S", "data.dataset=imported", "preprocess")
    assert "imported (unknown): from 46 pictures of 3 classes, 1 of them unusable" in printed
    assert {path.relative_to(elsewhere): path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before
    assert dvc(clone, "repro", "preprocess")[0] == []


def test_a_folder_that_is_gone_comes_back_from_the_cache(repository: Path):
    before = pictures(repository)
    shutil.rmtree(repository / MINE)
    dvc(repository, "checkout", f"{MINE}.dvc")
    assert pictures(repository) == before
