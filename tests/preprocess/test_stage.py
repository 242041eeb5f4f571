"""The stage as a user runs it: an unusable selection ends in one line, before anything is written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
    ("make", "facts"), [(one_scene, ["near_leak", "training images"]), (broken_test_split, ["test", "4 unusable of 4"])]
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
