from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.core.arrays import Split
from darkroom.train import augmented
from darkroom.train.augmented import GAP
from darkroom.train.batches import Batches
from tests.trainings import CPU, NO_AUGMENTATION, manifest


def make(n: int, *shape: int, **changes: object) -> Batches:
    inputs = np.random.default_rng(0).integers(256, size=(n, *shape), dtype=np.uint8)
    if shape[-1] == 3:
        inputs[..., 2] = 9  # a constant channel has no standard deviation
    train = Split(inputs, np.arange(n) % 2, np.array([str(number) for number in range(n)]))
    return Batches(train, manifest(train), NO_AUGMENTATION.model_copy(update=changes), n, 0, CPU)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("n, shape, scale", [(40, (48, 48, 3), 2), (3, (28, 14, 1), 4), (10, (96, 60, 3), 1)])
def test_the_sheet_holds_images_of_the_first_batch(tmp_path: Path, n: int, shape: tuple[int, ...], scale: int):
    batches = make(n, *shape)
    augmented.write(tmp_path / "sheet.png", batches)
    sheet = read(tmp_path / "sheet.png")
    rows, columns = -(-min(n, 32) // 8), min(n, 8)
    height, width, _ = shape
    assert sheet.shape == (rows * (height * scale + GAP) - GAP, columns * (width * scale + GAP) - GAP, 3)
    first = sheet[: height * scale : scale, : width * scale : scale]
    assert sum(np.array_equal(first, np.broadcast_to(image, first.shape)) for image in batches.loader.stored) == 1


def test_large_images_are_reduced_and_the_file_is_repeatable(tmp_path: Path):
    batches = make(10, 20, 192, 3, flip="random", color_jitter=0.5)
    for name in ("one.png", "other.png"):
        augmented.write(tmp_path / name, batches)
    assert read(tmp_path / "one.png").shape == (2 * (10 + GAP) - GAP, 8 * (96 + GAP) - GAP, 3)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def test_features_are_not_shown(tmp_path: Path):
    augmented.write(tmp_path / "sheet.png", make(10, 5))
    assert not list(tmp_path.iterdir())
