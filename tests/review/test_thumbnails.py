import base64
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from darkroom.evaluate import contact_sheet
from darkroom.review import compare, page, result, revision, thumbnails
from darkroom.review.revision import WORKSPACE
from darkroom.review.thumbnails import FILE
from tests import reviewed
from tests.reviewed import STRONG, WEAK


def write_sheet(channels: int = 1, shift: int = 1) -> np.ndarray:
    """Write the sheet of 30 images, all mistakes; return the images (30, 8, 8, channels)."""
    values = np.arange(30, dtype=np.uint8)[:, None, None, None] + np.uint8(shift)
    images = np.broadcast_to(values, (30, 8, 8, channels)).copy()
    ids = [f"test/{index}" for index in range(30)]
    table = pd.DataFrame({"id": ids, "label": "a", "predicted": "b", "confidence": 0.5})
    Path(FILE).parent.mkdir(parents=True, exist_ok=True)
    contact_sheet.write(FILE, images, table)
    return images


def decoded(uri: str) -> np.ndarray:
    """The image (H, W, 3) of a data URI."""
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True))) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_thumbnail_is_the_image_of_its_id(channels: int):
    images = write_sheet(channels)
    found = thumbnails.thumbnails([WORKSPACE], ["test/0", "test/29", "test/99"])
    assert list(found) == ["test/0", "test/29"]
    for name, index in (("test/0", 0), ("test/29", 29)):
        assert (decoded(found[name]) == images[index]).all()


def test_the_sheets_are_read_from_the_commits_and_the_first_counts(tmp_path: Path):
    for shift in (1, 101):
        write_sheet(shift=shift)
        reviewed.commit(tmp_path, f"by-{shift}")
    revisions = [revision.find(name) for name in ("by-1", "by-101")]
    Path(FILE).unlink()
    assert decoded(thumbnails.thumbnails(revisions, ["test/5"])["test/5"]).flat[0] == 6
    assert decoded(thumbnails.thumbnails(revisions[::-1], ["test/5"])["test/5"]).flat[0] == 106
    assert thumbnails.thumbnails([WORKSPACE], ["test/5"]) == {}


def test_the_html_page_shows_them_and_markdown_does_not(project: Path):
    for tag, correct in (("old", WEAK), ("new", STRONG)):
        reviewed.write(project, correct)
        table = pd.read_csv("metrics/predictions.csv")
        Path(FILE).parent.mkdir(exist_ok=True)
        contact_sheet.write(FILE, np.zeros((len(table), 4, 4, 1), np.uint8), table)
        reviewed.commit(project, tag)
    found = compare.compare(*(result.read(revision.find(name)) for name in ("old", "new")))
    assert (len(found.fixed), len(found.broken)) == (40, 10)
    assert page.html(found).count('<img src="data:image/png;base64,') == 2 * page.SHOWN
    assert "data:image" not in page.markdown(found) and "![" not in page.markdown(found)


def odd_sheet(path: Path, size: tuple[int, int] = (50, 2), **text: str) -> None:
    info = PngInfo()
    for key, value in ({"tile": "2", "ids": '["a"]'} | text).items():
        info.add_text(key, value)
    Image.new("L", size).save(path, format="PNG", pnginfo=info)


def test_a_sheet_of_another_layout_has_no_thumbnails(tmp_path: Path):
    Path(FILE).parent.mkdir(parents=True)
    odd_sheet(tmp_path / FILE)
    assert list(thumbnails.thumbnails([WORKSPACE], ["a"])) == ["a"]
    for changes in (
        {"tile": "0"},
        {"tile": "3"},
        {"tile": "-2"},
        {"tile": "many"},
        {"tile": "50"},
        {"ids": "["},
        {"ids": "3"},
        {"ids": "null"},
        {"ids": '["a", 1]'},
        {"ids": "[" * 100_000},
        {"ids": json.dumps(26 * ["a"])},
        {"size": (2000, 2 * thumbnails.MAX_TILES)},
    ):
        odd_sheet(tmp_path / FILE, **changes)
        assert thumbnails.thumbnails([WORKSPACE], ["a"]) == {}, changes


def test_a_huge_or_broken_file_has_no_thumbnails_and_is_not_decoded():
    write_sheet()
    contents = Path(FILE).read_bytes()
    size = struct.pack(">4sIIBBBBB", b"IHDR", 10**5, 10**5, 8, 0, 0, 0, 0)
    huge = contents[:12] + size + struct.pack(">I", zlib.crc32(size)) + contents[33:]
    for broken in (b"", b"GIF89a", contents + bytes(thumbnails.MAX_BYTES), huge, contents[: len(contents) // 2]):
        Path(FILE).write_bytes(broken)
        assert thumbnails.thumbnails([WORKSPACE], ["test/0"]) == {}


@given(position=st.integers(0, 400), byte=st.integers(0, 255))
def test_no_changed_byte_is_an_error(tmp_path_factory: pytest.TempPathFactory, position: int, byte: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())
        write_sheet()
        contents = bytearray(Path(FILE).read_bytes())
        contents[position % len(contents)] = byte
        Path(FILE).write_bytes(contents)
        assert thumbnails.thumbnails([WORKSPACE], ["test/0"]).keys() <= {"test/0"}
