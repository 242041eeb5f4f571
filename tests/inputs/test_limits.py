"""Tests of the bounds on the structure of image files."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.inputs.image import Unusable, decode, probe
from darkroom.inputs.limits import MAX_SCANS, MAX_SIDE, MAX_STRIPS, excess

COMMENT = b"\xff\xfe\x00\x02"  # an empty segment
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
SIGNATURES = [b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int = 1, height: int = 1, chunks: int = 0) -> bytes:
    """A black PNG with empty chunks before the pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((width + 1) * height)))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"teSt", b"") * chunks + pixels + chunk(b"IEND", b"")


def progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until it has this number of scans."""
    contents = encode(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    last = contents[contents.rindex(b"\xff\xda") : -2]
    return contents[:-2] + last * (scans - contents.count(b"\xff\xda")) + contents[-2:]


def jpeg(before: bytes = b"", **options: object) -> bytes:
    """A JPEG with more bytes before its first segment."""
    contents = encode(Image.fromarray(NOISE), "JPEG", **options)
    return contents[:2] + before + contents[2:]


def tiff(strips: int, order: str = "<") -> bytes:
    """A black TIFF, one pixel wide, with one strip per row."""
    lists = 8 + 2 + 9 * 12 + 4  # after the header and the tags
    tags = [(256, 1, 1), (257, 1, strips), (258, 1, 8), (259, 1, 1), (262, 1, 1), (273, strips, lists), (277, 1, 1)]
    tags += [(278, 1, 1), (279, strips, lists + 4 * strips)]
    header = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HIH", 42, 8, len(tags))
    entries = b"".join(struct.pack(order + "HHII", tag, 4, count, value) for tag, count, value in tags)
    offsets, sizes = (struct.pack(order + "I", value) * strips for value in (lists + 8 * strips, 1))
    return header + entries + bytes(4) + offsets + sizes + b"\0"


def assert_refused(contents: bytes, fact: str) -> None:
    for read in (probe, lambda contents: decode(contents, (4, 4), 1, "stretch", 10**9)):
        with pytest.raises(Unusable, match=fact):
            read(contents)


def assert_accepted(contents: bytes) -> None:
    assert excess(contents) is None
    probe(contents)
    decode(contents, (4, 4), 1, "stretch", 10**9)


def test_a_jpeg_with_many_scans():
    assert_accepted(progressive(MAX_SCANS))
    assert_refused(progressive(MAX_SCANS + 1), "100 JPEG scans")
    assert_refused(progressive(1000), "100 JPEG scans")


def test_scans_are_counted_only_in_the_image():
    marker = b"\xff\xda\x00\x02" * 200
    segment = b"\xff\xe5" + struct.pack(">H", 2 + len(marker)) + marker  # an APP5 segment
    for contents in (jpeg(segment), jpeg(segment, progressive=True), jpeg(progressive=True) + marker):
        assert_accepted(contents)


def test_a_jpeg_with_many_segments_or_much_between_them():
    assert_accepted(jpeg(COMMENT * 5000))
    assert_refused(jpeg(COMMENT * 20_000), "JPEG segments")
    assert_refused(progressive(MAX_SCANS + 1).replace(b"\xff\xda", COMMENT * 200 + b"\xff\xda"), "JPEG")
    assert_accepted(jpeg(b"\xff" * 1000))
    assert_refused(jpeg(b"\xff" * 100_000), "bytes between")
    assert_refused(jpeg(b"\xff\x00" * 50_000), "bytes between")


def test_a_png_with_many_chunks():
    assert_accepted(png(chunks=9_000))
    assert_refused(png(chunks=50_000), "PNG chunks")
    part = struct.pack(">I", 8192) + b"IDAT" + bytes(8192 + 4)  # as libpng writes it
    assert excess(png()[:33] + part * 12_000) is None


@pytest.mark.parametrize(("width", "height"), [(1, MAX_SIDE + 1), (MAX_SIDE + 1, 1)])
def test_an_image_with_a_long_side(width: int, height: int):
    assert_refused(png(width, height), "per side")
    assert_refused(encode(Image.new("L", (width, height)), "BMP"), "per side")
    assert_accepted(png(min(width, MAX_SIDE), min(height, MAX_SIDE)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_with_many_strips(order: str):
    assert_accepted(tiff(1000, order))
    assert_refused(tiff(MAX_STRIPS + 1, order), "200,001 TIFF strips")


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_bigtiff_with_many_tiles(order: str):
    signature = {"<": b"II", ">": b"MM"}[order]
    for tag in (324, 325):
        entries = struct.pack(order + "QHHQQ", 1, tag, 16, MAX_STRIPS + 1, 0)
        assert "200,001" in excess(signature + struct.pack(order + "HHHQ", 43, 8, 0, 16) + entries)
        entries = struct.pack(order + "QHHQQ", 1, tag, 16, MAX_STRIPS, 0)
        assert excess(signature + struct.pack(order + "HHHQ", 43, 8, 0, 16) + entries) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"])
def test_truncated_files_have_no_excess(kind: str):
    contents = encode(Image.fromarray(NOISE), kind)
    assert [excess(contents[:length]) for length in range(0, len(contents), 7) if excess(contents[:length])] == []


@settings(deadline=None)
@given(st.sampled_from(SIGNATURES), st.binary())
def test_any_bytes_are_read_without_an_error(start: bytes, rest: bytes):
    found = excess(start + rest)
    assert found is None or isinstance(found, str)


def test_a_broken_fax_prints_nothing(capfd: pytest.CaptureFixture[str]):
    contents = bytearray(encode(Image.fromarray(NOISE[..., 0]).convert("1"), "TIFF", compression="group4"))
    contents[8:200] = np.random.default_rng(1).bytes(192)
    with contextlib.suppress(Unusable):
        decode(bytes(contents), (4, 4), 1, "stretch", 10**6)
    assert capfd.readouterr().err == ""
