"""Embedded profiles and gamma values: what is converted to sRGB, and what stays bit for bit."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from darkroom.inputs import colour
from darkroom.inputs.image import decode, probe
from tests.inputs import profiles

COLOURS = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE_RGB = profiles.rgb()


def encode(values: np.ndarray, kind: str = "PNG", profile: bytes | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind, icc_profile=profile, **options)
    return buffer.getvalue()


def pixels(contents: bytes, channels: int = 3, size: tuple[int, int] = COLOURS.shape[:2]) -> np.ndarray:
    return decode(contents, size, channels, "stretch", 10_000)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_colours_are_converted_to_srgb(kind: str):
    contents = encode(COLOURS, kind, ADOBE_RGB, **({"lossless": True} if kind == "WEBP" else {}))
    assert difference(pixels(contents), profiles.to_srgb(COLOURS)) <= 1.5
    assert difference(COLOURS, profiles.to_srgb(COLOURS)) > 20
    assert probe(contents).remark == ""


def test_a_jpeg_is_converted_to_srgb():
    patch = np.full((16, 16, 3), (200, 90, 60), np.uint8)
    found = pixels(encode(patch, "JPEG", ADOBE_RGB, quality=100, subsampling=0), size=(16, 16))
    assert difference(found, profiles.to_srgb(patch)) <= 4


def test_the_palette_and_visible_colours_of_a_transparent_image_are_converted():
    palette = Image.fromarray(COLOURS).quantize(8)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", icc_profile=ADOBE_RGB)
    assert difference(pixels(buffer.getvalue()), profiles.to_srgb(np.asarray(palette.convert("RGB")))) <= 1.5
    alpha = np.where(COLOURS[..., :1] > 127, np.uint8(255), np.uint8(0))
    expected = np.where(alpha, profiles.to_srgb(COLOURS), 255)
    assert difference(pixels(encode(np.concatenate([COLOURS, alpha], 2), "PNG", ADOBE_RGB)), expected) <= 1.5


def test_colours_of_16_bits_are_converted():
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in COLOURS)
    contents = png(COLOURS.shape[:2], rows, depth=16, colour_type=2, iCCP=b"icc\0\0" + zlib.compress(ADOBE_RGB))
    assert difference(pixels(contents), profiles.to_srgb(COLOURS)) <= 1.5


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.6])
def test_grey_is_converted(gamma: float):
    expected = profiles.encoded((GREYS / 255) ** (round(256 * gamma) / 256))
    found = pixels(encode(GREYS, "PNG", profiles.grey(gamma)), 1, GREYS.shape)[..., 0]
    assert difference(found, expected) <= 2


def test_inks_are_converted():
    inks = np.zeros((4, 4, 4), np.uint8)
    inks[2:] = 255, 255, 0, 0  # half of the darkness
    buffer = io.BytesIO()
    Image.fromarray(inks, "CMYK").save(buffer, "TIFF", icc_profile=profiles.cmyk())
    found = pixels(buffer.getvalue(), 3, (4, 4))
    assert (found[:2] >= 254).all() and (np.abs(found[2:] - 119.0) <= 3).all()  # L* = 50 is the level 119


@pytest.mark.parametrize(
    "profile",
    [
        SRGB,
        profiles.grey(1.8),  # of another colour space
        b"no profile",
        ADOBE_RGB[:200],
        ADOBE_RGB[:132] + bytes(len(ADOBE_RGB) - 132),
        ADOBE_RGB + bytes(colour.MAX_PROFILE),
    ],
    ids=["sRGB", "grey", "text", "truncated", "zeros", "large"],
)
def test_other_profiles_change_no_bit(profile: bytes):
    contents = encode(COLOURS, "TIFF", profile)
    assert np.array_equal(pixels(contents), COLOURS)


@pytest.mark.parametrize("profile", [b"no profile", ADOBE_RGB[:200]])
def test_a_broken_profile_is_remarked(profile: bytes):
    assert probe(encode(COLOURS, "TIFF", profile)).remark == colour.BROKEN


def test_without_littlecms_a_profile_is_remarked_and_ignored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(colour.features, "check", lambda _: False)
    contents = encode(COLOURS, "PNG", profiles.rgb(gamma=1.9))
    assert probe(contents).remark == colour.UNAVAILABLE and np.array_equal(pixels(contents), COLOURS)
    colour._of_profile.cache_clear()


def png(size: tuple[int, int], rows: bytes, depth: int = 8, colour_type: int = 0, **chunks: bytes) -> bytes:
    """A PNG with further chunks by their names; each of `rows` starts with a zero."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], depth, colour_type, 0, 0, 0))
    more = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_gamma(gamma: int, **chunks: bytes) -> bytes:
    return png(GREYS.shape, b"".join(b"\0" + row.tobytes() for row in GREYS), gAMA=struct.pack(">I", gamma), **chunks)


@pytest.mark.parametrize("gamma", [100_000, 55_556])
def test_the_gamma_value_of_a_png_is_applied(gamma: int):
    found = pixels(with_gamma(gamma), 1, GREYS.shape)[..., 0]
    assert difference(found, profiles.encoded((GREYS / 255) ** (100_000 / gamma))) <= 0.5


@pytest.mark.parametrize(
    ("gamma", "chunks"),
    [
        (45_455, {}),
        (0, {}),
        (2**31, {}),
        (100_000, {"sRGB": b"\0"}),
        (100_000, {"iCCP": b"icc\0\0" + zlib.compress(SRGB)}),
    ],
)
def test_a_gamma_value_that_does_not_count_changes_no_bit(gamma: int, chunks: dict[str, bytes]):
    assert np.array_equal(pixels(with_gamma(gamma, **chunks), 1, GREYS.shape)[..., 0], GREYS)


PROFILES = [ADOBE_RGB, profiles.grey(1.8), profiles.cmyk()]
IMAGES = [COLOURS, GREYS[:8, :9].copy(), np.dstack([COLOURS, COLOURS[..., :1]])]


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(0, 2),
    cut=st.integers(0, 600),
    flips=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=6),
)
def test_a_damaged_profile_never_makes_an_image_unusable(number: int, cut: int, flips: list[tuple[int, int]]):
    profile = bytearray(PROFILES[number])
    for position, value in flips:
        profile[position % len(profile)] = value
    for damaged in (bytes(profile), bytes(profile[: cut + 1])):
        image = Image.fromarray(IMAGES[number], "CMYK") if number == 2 else Image.fromarray(IMAGES[number])
        buffer = io.BytesIO()
        image.save(buffer, "TIFF", icc_profile=damaged)
        assert probe(buffer.getvalue()).width == 9
        pixels(buffer.getvalue())
