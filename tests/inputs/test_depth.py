"""Images of more than 8 bits per channel, with and without an intensity range."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from darkroom.inputs.depth import FULL_RANGE, scaled
from darkroom.inputs.image import Unusable, count_values, decode, probe
from tests.inputs import tiffs

NARROW = (7_300, 8_200)
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(*NARROW, (9, 8, 1), dtype=np.uint16, endpoint=True)
COLOURS = RANDOM.integers(*NARROW, (9, 8, 3), dtype=np.uint16, endpoint=True)
OPAQUE = np.full_like(GREY, 65_535)


def pixels(contents: bytes, channels: int, intensity_range: tuple[int, int] | None) -> np.ndarray:
    return decode(contents, GREY.shape[:2], channels, "stretch", 10_000, intensity_range)


def png(values: np.ndarray, colour_type: int, hidden: bytes = b"") -> bytes:
    """A PNG of 16 bits: grey (0), RGB (2), grey with alpha (4) or RGB with alpha (6); `hidden` is its tRNS chunk."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    more = chunk(b"tRNS", hidden) if hidden else b""
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def expected(values: np.ndarray, low: int, high: int) -> np.ndarray:
    """Equal parts of the range become equal levels."""
    return np.clip((values.astype(int) - low) * 256 // (high - low), 0, 255)


GREYS = {
    "PNG": png(GREY, 0),
    "PNG with alpha": png(np.concatenate([GREY, OPAQUE], 2), 4),
    "TIFF": tiffs.encode(GREY, 1),
    "TIFF, big-endian": tiffs.encode(GREY, 1, order=">", deflate=True),
    "TIFF, white is 0": tiffs.encode(65_535 - GREY, 0),
    "TIFF, signed": tiffs.encode(GREY.astype(np.int16), 1, tags={339: ("H", [2])}),
    "TIFF, 32 bits": tiffs.encode(GREY.astype(np.uint32), 1),
}
IN_COLOUR = {
    "PNG": png(COLOURS, 2),
    "PNG with alpha": png(np.concatenate([COLOURS, OPAQUE], 2), 6),
    "TIFF": tiffs.encode(COLOURS, 2),
    "TIFF, big-endian": tiffs.encode(COLOURS, 2, order=">", rows=4),
    "TIFF, compressed": tiffs.encode(COLOURS, 2, deflate=True, predictor=2),
    "TIFF with alpha": tiffs.encode(np.concatenate([COLOURS, OPAQUE], 2), 2, tags={338: ("H", [2])}),
    "TIFF in planes": tiffs.encode(COLOURS, 2, planar=2),
    "TIFF in big-endian planes": tiffs.encode(COLOURS, 2, planar=2, order=">", deflate=True, rows=4),
    "TIFF in tiled planes": tiffs.encode(COLOURS, 2, planar=2, tile=16),
}


@pytest.mark.parametrize("contents", GREYS.values(), ids=GREYS)
@pytest.mark.parametrize("wanted", [None, FULL_RANGE, NARROW, (7_500, 7_600)])
def test_grey_is_scaled_from_the_range(contents: bytes, wanted: tuple[int, int] | None):
    assert (probe(contents).bits, probe(contents).channels) == (16, 1)
    assert np.array_equal(pixels(contents, 1, wanted), expected(GREY, *(wanted or FULL_RANGE)))


@pytest.mark.parametrize("contents", IN_COLOUR.values(), ids=IN_COLOUR)
@pytest.mark.parametrize("wanted", [None, FULL_RANGE, NARROW, (7_500, 7_600)])
def test_colours_are_scaled_from_the_range(contents: bytes, wanted: tuple[int, int] | None):
    assert (probe(contents).bits, probe(contents).channels) == (16, 3)
    assert np.array_equal(pixels(contents, 3, wanted), expected(COLOURS, *(wanted or FULL_RANGE)))


def test_12_bits_are_on_the_scale_of_16():
    fields = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: 3}
    contents = tiffs.assemble({tag: ("I", [value]) for tag, value in fields.items()}, [b"\x10\x01\x80"], 273)
    assert decode(contents, (1, 2), 1, "stretch", 10).ravel().tolist() == [0x10, 0x18]
    assert decode(contents, (1, 2), 1, "stretch", 10, (0x1000, 0x1900)).ravel().tolist() == [0, 227]


def test_8_bits_are_not_scaled():
    buffer = io.BytesIO()
    levels = RANDOM.integers(0, 256, (9, 8), dtype=np.uint8)
    Image.fromarray(levels).save(buffer, "PNG")
    assert probe(buffer.getvalue()).bits == 8
    assert np.array_equal(pixels(buffer.getvalue(), 1, NARROW)[..., 0], levels)


def test_transparent_values_are_found_in_16_bits():
    hidden = int(GREY[0, 0, 0])
    found = pixels(png(GREY, 0, struct.pack(">H", hidden)), 1, NARROW)
    assert np.array_equal(found, np.where(hidden == GREY, 255, expected(GREY, *NARROW)))
    found = pixels(png(COLOURS, 2, struct.pack(">3H", *COLOURS[0, 0].tolist())), 3, NARROW)
    assert (found[0, 0] == 255).all() and np.array_equal(found[1:], expected(COLOURS, *NARROW)[1:])


@pytest.mark.parametrize(
    "contents", [*GREYS.values(), *IN_COLOUR.values()], ids=[*GREYS, *(f"RGB {one}" for one in IN_COLOUR)]
)
def test_values_are_counted(contents: bytes):
    values = GREY if probe(contents).channels == 1 else COLOURS
    assert np.array_equal(count_values(contents, 10_000), np.bincount(values.ravel(), minlength=2**16))
    with pytest.raises(Unusable, match="max_pixels = 10"):
        count_values(contents, 10)


@given(
    low=st.integers(0, 65_534),
    width=st.integers(1, 65_535),
    values=st.lists(st.integers(0, 65_535), min_size=1).map(sorted),
)
def test_scaling_keeps_the_order_and_uses_all_levels(low: int, width: int, values: list[int]):
    high = min(65_535, low + width)
    levels = scaled(np.array(values, np.uint16), (low, high))
    assert levels.dtype == np.uint8 and (np.diff(levels.astype(int)) >= 0).all()
    assert scaled(np.array([low, high], np.uint16), (low, high)).tolist() == [0, 255]
    if high - low >= 255:
        assert len(np.unique(scaled(np.arange(low, high + 1, dtype=np.uint16), (low, high)))) == 256
