"""The stage as a user runs it: an unusable selection ends in one line, before anything is written."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.core import arrays
from tests.repository import change, copy_project

SIZE = 64


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def one_scene(folder: Path) -> None:
    """An inspection camera: 120 images of one background, with a small defect in every second one."""
    random = np.random.default_rng(0)
    background = random.integers(60, 200, (8, 8)).repeat(8, axis=0).repeat(8, axis=1)
    for number in range(120):
        pixels = background + random.normal(0, 1, (SIZE, SIZE))
        row, column = random.integers(SIZE - 6, size=2)
        pixels[row : row + 6, column : column + 6] += 40 * (number % 2)
        write(folder / ("good", "bad")[number % 2] / f"{number:03}.png", pixels)


def broken_test_split(folder: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(40):
        part = "test" if number < 4 else "train"
        path = folder / part / "ab"[number % 2] / f"{number:03}.png"
        write(path, random.integers(256, size=(SIZE, SIZE)))
        if part == "test":
            path.write_text("not an image")


@pytest.mark.parametrize(
    ("make", "facts"),
    [(one_scene, ["near_leak", "training examples"]), (broken_test_split, ["test", "4 unusable of 4"])],
)
def test_an_unusable_selection_ends_in_one_line(tmp_path: Path, make, facts: list[str]):
    folder = copy_project(tmp_path)
    change(folder, data={"dataset": "mine"}, preprocess={"max_bad_fraction": 0.5})
    make(folder / "data/datasets/mine")
    subprocess.run([sys.executable, "-m", "stages.fetch"], cwd=folder, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-m", "stages.preprocess"], cwd=folder, capture_output=True, text=True, check=False
    )
    message = done.stderr.strip()
    assert done.returncode == 1 and message.startswith("preprocess: ") and "\n" not in message
    assert all(fact in message for fact in facts)
    assert {path.name for path in (folder / "data").iterdir()} == {
        "baselines",
        "datasets",
        "pretrained",
        "raw",
        "teachers",
    }
    assert {path.name for path in (folder / "metrics").rglob("*.*")} == {"fetch.json"}


def test_no_file_tells_the_class_of_an_example_whose_label_is_hidden(tmp_path: Path):
    """Ids, columns and groups name the class; some examples are undecodable, of one colour, or copies."""
    folder = copy_project(tmp_path)
    change(folder, data={"dataset": "mine"}, preprocess={"labels_per_class": 6, "max_bad_fraction": 0.5})
    random, rows = np.random.default_rng(0), ["path,label,group,site"]
    names = {"secretcat": "cat", "secretdog": "dog"}
    for number in range(120):
        secret = list(names)[number // 60]
        path = folder / f"data/datasets/mine/{secret}/{number:03}.png"
        write(path, np.full((8, 8), 9) if number % 30 == 5 else random.integers(256, size=(8, 8)))
        if number % 30 == 7:
            path.write_bytes((path.parent / f"{number - 1:03}.png").read_bytes())
        if number % 30 == 9:
            path.write_text("not an image")
        rows.append(f"{secret}/{number:03}.png,{names[secret]},{secret}{number // 3},{secret} site")
    (folder / "data/datasets/mine/manifest.csv").write_text("\n".join(rows))
    for stage in ("fetch", "preprocess"):
        subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=folder, check=True, capture_output=True)
    known = {name for split in arrays.SPLITS for name in arrays.read_split(folder / "data/arrays", split).ids.tolist()}
    hidden = arrays.read_unlabelled(folder / "data/arrays")
    assert len(known) < len(hidden) + 40 and len(hidden) > 40
    assert set(arrays.read_columns(folder / "data/arrays", "unlabelled")["site"].tolist()) == {""}
    secrets = [f"{secret}/{number:03}" for number in range(120) for secret in names]
    secrets = [name for name in secrets if f"{name}.png" not in known]
    written = [path for part in ("data/arrays", "metrics") for path in (folder / part).rglob("*") if path.is_file()]
    texts = {path: path.read_text(errors="replace") for path in written if path.suffix != ".npy"}
    assert not [path for path, text in texts.items() if any(name in text for name in secrets)]
    assert "hidden/" in texts[folder / "metrics/data/findings.csv"]
    for path in (folder / "metrics/data").glob("*.csv"):  # a hidden example may be a copy of one with a known label
        lines = [set(re.findall(r"secret\w+/\d+\.png", line)) for line in texts[path].splitlines() if "hidden/" in line]
        assert not [line for line in texts[path].splitlines() if "hidden/" in line and " site" in line]
        assert set().union(*lines) <= known
