"""The stage check rejects an invalid params.yaml and an unknown dataset before any other stage runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "params.yaml").read_text()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of params.yaml and of the built-in datasets; the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for path in (ROOT / "data/datasets").glob("*/dataset.yaml"):
        copied = tmp_path / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True)
        shutil.copy(path, copied)
    return tmp_path


def check() -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    command = [sys.executable, "-m", "stages.check"]
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_valid_parameters_are_accepted(project: Path):
    ended = check()
    assert ended.returncode == 0, ended.stderr
    assert json.loads((project / "data/checked.json").read_text()) == {"valid": True}
    assert not (project / "metrics").exists()


@pytest.mark.parametrize(
    ("key", "value", "facts"),
    [
        (
            "dataset",
            "fashion_mnst",
            ["data.dataset = 'fashion_mnst'", "cifar10, emnist", "did you mean fashion_mnist?"],
        ),
        ("dataset", "../datasets/mnist", ["data.dataset = '../datasets/mnist'", "path separators"]),
        ("name", "timm", ["model.timm.architecture = 'auto'", "model.pretrained = none"]),
        ("tune", "head", ["train.tune = 'head'", "-S train.tune=all"]),
        ("pretrained", "efficientnet_lite9", ["model.pretrained = 'efficientnet_lite9'"]),
        ("lr", "-1", ["train.lr = -1", "greater than 0"]),
        ("teacher", "big", ["train.distill.teacher = 'big'", "data/teachers", "darkroom.teacher keep"]),
        ("images_per_kind", "no", ["explain.images_per_kind = 'no'", "integer"]),
    ],
)
def test_an_error_in_any_section_stops_the_pipeline(project: Path, key: str, value: str, facts: list[str]):
    (project / "params.yaml").write_text(re.sub(rf"\b{key}: \S+", f"{key}: {value}", TEXT))
    ended = check()
    assert ended.returncode == 1
    assert [fact for fact in facts if fact not in ended.stderr] == []
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not (project / "data/checked.json").exists()


def test_a_slice_by_an_unknown_column_stops_the_pipeline(project: Path):
    folder = project / "data/datasets/mine"
    folder.mkdir()
    (folder / "manifest.csv").write_text("path,label,site\na.png,x,north\nb.png,y,south\n")
    text = TEXT.replace("dataset: fashion_mnist", "dataset: mine")
    (project / "params.yaml").write_text(text.replace("slices: []", "slices: [site]"))
    assert check().returncode == 0
    (project / "params.yaml").write_text(text.replace("slices: []", "slices: [sight]"))
    ended = check()
    assert ended.returncode == 1 and len(ended.stderr.strip().splitlines()) == 1
    assert "'sight'" in ended.stderr and "'site'" in ended.stderr
    (project / "params.yaml").write_text(TEXT.replace("slices: []", "slices: [site]"))
    assert "has none" in check().stderr  # Fashion-MNIST has no manifest


@pytest.mark.parametrize(("value", "fact"), [("[id]", "id"), ("[site, site]", "duplicates")])
def test_slices_are_free_and_different_names(project: Path, value: str, fact: str):
    (project / "params.yaml").write_text(TEXT.replace("slices: []", f"slices: {value}"))
    ended = check()
    assert ended.returncode == 1 and "evaluate.slices" in ended.stderr and fact in ended.stderr
