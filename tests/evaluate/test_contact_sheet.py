import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkroom.evaluate import contact_sheet
from darkroom.evaluate.contact_sheet import COLUMNS, LIMIT


def table(predicted: list[str], confidence: list[float] | None = None) -> pd.DataFrame:
    """Predictions of examples whose labels are all a."""
    ids = [f"test/{index}" for index in range(len(predicted))]
    confidence = confidence or [0.5] * len(predicted)
    return pd.DataFrame({"id": ids, "label": "a", "predicted": predicted, "confidence": confidence})


def levels(n: int, height: int, width: int, channels: int = 1) -> np.ndarray:
    """Images of one grey level each: image i has level i + 1."""
    return np.ones((n, height, width, channels), np.uint8) * np.arange(1, n + 1, dtype=np.uint8)[:, None, None, None]


def written(path: Path) -> tuple[Image.Image, list[str]]:
    with Image.open(path) as image:
        assert image.format == "PNG" and int(image.info["tile"]) * COLUMNS == image.width
        return image.convert("RGB"), json.loads(image.info["ids"])


def test_the_most_confident_mistakes_come_first_and_ties_keep_their_order():
    found = contact_sheet.mistakes(table(["b", "a", "b", "c", "b"], [0.5, 0.9, 0.7, 0.5, 0.6]))
    assert found.tolist() == [2, 4, 0, 3]
    assert contact_sheet.mistakes(table(["b"] * (LIMIT + 1))).tolist() == list(range(LIMIT))


@pytest.mark.parametrize("channels", [1, 3])
def test_each_tile_holds_the_image_of_its_id(tmp_path: Path, channels: int):
    predicted = ["b"] * (COLUMNS + 2)
    contact_sheet.write(tmp_path / "sheet.png", levels(COLUMNS + 2, 4, 4, channels), table(predicted))
    sheet, ids = written(tmp_path / "sheet.png")
    assert (sheet.size, len(ids)) == ((COLUMNS * 4, 8), COLUMNS + 2)
    for number, name in enumerate(ids):
        row, column = divmod(number, COLUMNS)
        level = int(name.removeprefix("test/")) + 1
        assert sheet.crop((column * 4, row * 4, column * 4 + 4, row * 4 + 4)).getextrema() == ((level, level),) * 3
    assert sheet.crop((8, 4, COLUMNS * 4, 8)).getextrema() == ((0, 0),) * 3


@pytest.mark.parametrize(
    ("size", "tile", "shown"), [((100, 50), 32, (32, 16)), ((1, 90), 32, (1, 32)), ((6, 4), 6, (6, 4))]
)
def test_large_images_are_scaled_down_and_keep_their_ratio(
    tmp_path: Path, size: tuple[int, int], tile: int, shown: tuple[int, int]
):
    contact_sheet.write(tmp_path / "sheet.png", np.full((1, *size, 1), 9, np.uint8), table(["b"]))
    sheet, _ = written(tmp_path / "sheet.png")
    assert sheet.size == (COLUMNS * tile, tile)
    assert np.argwhere(np.asarray(sheet)[:, :, 0] == 9).max(0).tolist() == [shown[0] - 1, shown[1] - 1]


def test_a_perfect_classifier_has_a_sheet_without_tiles(tmp_path: Path):
    contact_sheet.write(tmp_path / "sheet.png", levels(2, 4, 4), table(["a", "a"]))
    assert written(tmp_path / "sheet.png")[1] == []


def test_the_same_mistakes_give_the_same_bytes(tmp_path: Path):
    images = np.random.default_rng(0).integers(256, size=(30, 40, 40, 3), dtype=np.uint8)
    for name in "ab":
        contact_sheet.write(tmp_path / name, images, table(["b"] * 30))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_inputs_that_are_no_images_have_no_sheet_and_no_error(tmp_path: Path, capsys: pytest.CaptureFixture):
    contact_sheet.write(tmp_path / "sheet.png", np.zeros((2, 5), np.uint8), table(["b", "b"]))
    assert list(tmp_path.iterdir()) == []
    assert "sheet.png is left out" in capsys.readouterr().err
