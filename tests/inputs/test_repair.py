"""Files that are fine but that Pillow refuses: damage outside of the pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from darkroom.inputs import repair
from darkroom.inputs.image import Unusable, decode, probe

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, (48, 64, 3), dtype=np.uint8)
SMOOTH = np.repeat(np.linspace(0, 245, 48 * 64, dtype=np.uint8).reshape(48, 64, 1), 3, axis=2)
JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 3},
    "restart markers per row": {"restart_marker_rows": 1, "subsampling": 0},
    "optimised": {"optimize": True, "quality": 20},
}


def jpeg(values: np.ndarray = NOISE, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def png(*chunks: tuple[bytes, bytes, bool], last: tuple[tuple[bytes, bytes, bool], ...] = ()) -> bytes:
    """A PNG with chunks (type, data, whether the checksum is correct) before and after the pixels."""

    def chunk(kind: bytes, data: bytes, correct: bool = True) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ (not correct))

    height, width, _ = NOISE.shape
    rows = b"".join(b"\0" + row.tobytes() for row in NOISE)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    extra, late = (b"".join(chunk(*one) for one in some) for some in (chunks, last))
    return b"\x89PNG\r\n\x1a\n" + start + extra + pixels + late + chunk(b"IEND", b"")


def pixels(contents: bytes) -> np.ndarray:
    return decode(contents, NOISE.shape[:2], 3, "stretch", 10_000)


@pytest.mark.parametrize("values", [NOISE, SMOOTH], ids=["noise", "smooth"])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("end", [b"", b"\xff", bytes(700), b"\xff" + bytes(9)])
def test_a_jpeg_without_end_marker_whose_pixels_are_whole_is_decoded(values: np.ndarray, options: dict, end: bytes):
    whole = jpeg(values, **options)
    assert whole.endswith(b"\xff\xd9")
    assert np.array_equal(pixels(whole[:-2] + end), pixels(whole))


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_with_missing_pixels_is_truncated_wherever_it_ends(options: dict):
    whole = jpeg(**options)
    start = whole.index(b"\xff\xda")
    original, accepted = pixels(whole).astype(int), 0
    for end in {*range(start, len(whole), 37), *range(len(whole) - 80, len(whole) - 2)}:
        for filled in (b"", bytes(len(whole) - end)):
            try:
                found = pixels(whole[:end] + filled)
            except Unusable as reason:
                assert "truncated" in str(reason)
            else:  # only bits that no pixel depends on are missing
                accepted += 1
                assert np.abs(found - original).max() <= 1, end
    assert accepted <= 4


def test_a_jpeg_cut_between_restart_intervals_is_truncated():
    whole = jpeg(restart_marker_blocks=2)
    start = whole.index(b"\xff\xda")
    for number in range((NOISE.shape[0] // 16) * (NOISE.shape[1] // 16) // 2 - 1):
        position = whole.index(bytes([0xFF, 0xD0 + number]), start)
        for end in (position, position + 2):
            with pytest.raises(Unusable, match="truncated"):
                pixels(whole[:end])


@pytest.mark.parametrize("scan", range(1, 9))
def test_a_progressive_jpeg_without_its_last_scans_is_truncated(scan: int):
    whole = jpeg(SMOOTH, progressive=True)
    positions = [position for position in range(len(whole)) if whole[position : position + 2] == b"\xff\xda"]
    with pytest.raises(Unusable, match="truncated"):
        pixels(whole[: whole.rindex(b"\xff\xc4", 0, positions[scan])])


def test_a_jpeg_that_is_too_large_is_not_decoded_to_look_for_its_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(repair, "completed", lambda _: pytest.fail("decoded"))
    with pytest.raises(Unusable, match="max_pixels = 100"):
        decode(jpeg()[:-2], (4, 4), 3, "stretch", 100)


@pytest.mark.parametrize(
    ("marker", "payload"),
    [(0xE0, b"JFIF\0"), (0xE0, b"JFIF\0\1"), (0xE0, b"JFIF\0\1\1\0"), (0xEE, b"Adobe"), (0xE2, b"ICC_PROFILE\0\1")],
)
def test_a_short_application_segment_is_ignored(marker: int, payload: bytes):
    whole = jpeg()
    short = bytes([0xFF, marker]) + struct.pack(">H", 2 + len(payload)) + payload
    for damaged in (whole[:2] + short + whole[2:], whole[:2] + short + whole[20:]):  # with and without the good APP0
        assert (probe(damaged).width, probe(damaged).height) == (64, 48)
        assert np.array_equal(pixels(damaged), pixels(whole))
        assert np.array_equal(pixels(damaged[:-2]), pixels(whole))


LARGE = bytes(2 * PngImagePlugin.MAX_TEXT_CHUNK)
ANCILLARY = {
    "text": (b"tEXt", b"Comment\0" + b"x" * (PngImagePlugin.MAX_TEXT_MEMORY + 1), True),
    "compressed text": (b"zTXt", b"Comment\0\0" + zlib.compress(LARGE), True),
    "international text": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LARGE), True),
    "profile": (b"iCCP", b"icc\0\0" + zlib.compress(LARGE), True),
    "text with a wrong checksum": (b"tEXt", b"Comment\0x", False),
    "time with a wrong checksum": (b"tIME", bytes(7), False),
    "private chunk with a wrong checksum": (b"prVt", b"x", False),
    "short resolution": (b"pHYs", b"x", True),
    "short gamma": (b"gAMA", b"", True),
    "short chromaticities": (b"cHRM", b"12345", True),
    "short rendering intent": (b"sRGB", b"", True),
    "short animation": (b"acTL", b"1", True),
}


@pytest.mark.parametrize("chunk", ANCILLARY.values(), ids=ANCILLARY)
def test_ancillary_chunks_of_a_png_cannot_make_it_unusable(chunk: tuple[bytes, bytes, bool]):
    for damaged in (png(chunk), png(last=(chunk,))):
        assert (probe(damaged).width, probe(damaged).height, probe(damaged).channels) == (64, 48, 3)
        assert np.array_equal(pixels(damaged), NOISE)


def test_the_orientation_of_a_repaired_png_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 3
    assert np.array_equal(
        pixels(png((b"tIME", bytes(7), False), (b"eXIf", exif.tobytes()[6:], True))), NOISE[::-1, ::-1]
    )


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
def test_a_wrong_checksum_of_a_critical_chunk_is_an_error(kind: bytes):
    damaged = bytearray(png((b"PLTE", bytes(6), True)))
    damaged[damaged.index(kind) + 4 + (13 if kind == b"IHDR" else 6)] ^= 1  # the first byte of its checksum
    with pytest.raises(Unusable, match="damaged"):
        pixels(bytes(damaged))
