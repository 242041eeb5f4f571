import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.inputs.image import FORMATS, Unusable, decode, probe

COLOURS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
GREYS = COLOURS[..., 0]
UNSUPPORTED = "not a supported image format"


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(
    contents: bytes,
    channels: int = 3,
    size: tuple[int, int] = (4, 6),
    resize: str = "stretch",
    max_pixels: int = 10_000,
) -> np.ndarray:
    found = decode(contents, size, channels, resize, max_pixels)
    assert found.shape == (*size, channels) and found.dtype == np.uint8 and found.flags.c_contiguous
    return found


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_an_image_of_the_right_size_keeps_its_pixels(kind: str):
    contents = encode(COLOURS, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(pixels(contents), COLOURS)
    header = probe(contents)
    assert (header.format, header.width, header.height, header.channels) == (kind, 6, 4, 3)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_grey_images_have_one_channel(kind: str):
    contents = encode(GREYS, kind)
    assert np.array_equal(pixels(contents, 1)[..., 0], GREYS)
    assert np.array_equal(pixels(contents, 3), np.repeat(GREYS[..., None], 3, 2))
    assert probe(encode(GREYS)).channels == 1


def test_jpeg_is_decoded_approximately():
    smooth = np.linspace(0, 255, 24, dtype=np.uint8).reshape(4, 6)
    assert np.abs(pixels(encode(smooth, "JPEG", quality=95), 1)[..., 0].astype(int) - smooth).max() < 8
    assert (probe(encode(smooth, "JPEG")).channels, probe(encode(COLOURS, "JPEG")).channels) == (1, 3)


def test_an_rgb_image_is_converted_to_grey_by_its_luma():
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert pixels(encode(primaries), 1, (1, 3)).ravel().tolist() == [76, 150, 29]  # 0.299, 0.587 and 0.114 of 255


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_to_8_bits(kind: str):
    levels = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    assert pixels(encode(levels, kind), 1, (1, 5)).ravel().tolist() == [0, 0, 1, 128, 255]


def test_16_bit_rgb_is_scaled_to_8_bits():
    assert pixels(png(1, 1, 16, 2, struct.pack(">x3H", 65535, 255, 32768)), 3, (1, 1)).ravel().tolist() == [255, 0, 128]


def test_12_bit_grey_is_scaled_to_8_bits():
    assert pixels(tiff(2, 1, {258: 12}, b"\xff\xf8\x00"), 1, (1, 2)).ravel().tolist() == [255, 128]


@pytest.mark.parametrize(("bits", "data"), [(8, b"\0\xff"), (16, b"\0\0\xff\xff")])
def test_a_tiff_in_which_0_is_white_is_inverted(bits: int, data: bytes):
    assert pixels(tiff(2, 1, {258: bits, 262: 0}, data), 1, (1, 2)).ravel().tolist() == [255, 0]


def test_one_bit_per_pixel_is_black_and_white():
    assert pixels(encode(Image.fromarray(np.eye(2, dtype=bool))), 1, (2, 2))[..., 0].tolist() == [[255, 0], [0, 255]]


def test_transparent_pixels_are_blended_with_white():
    layer = np.array([[[9, 9, 9, 255], [200, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    assert pixels(encode(layer), 3, (1, 3))[0].tolist() == [[9, 9, 9], [255, 255, 255], [127, 127, 127]]
    grey = encode(Image.merge("LA", [Image.new("L", (1, 1), 7), Image.new("L", (1, 1), 0)]))
    assert pixels(grey, 1, (1, 1)).ravel().tolist() == [255]
    grey = png(2, 1, 16, 0, struct.pack(">x2H", 0x1234, 0x2345), transparency=0x1234)
    assert pixels(grey, 1, (1, 2)).ravel().tolist() == [255, 0x23]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 200, 0, 0])
    assert pixels(encode(palette, transparency=1), 3, (1, 2))[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def bmp(pixels: bytes, masks: bool = True) -> bytes:
    """A BMP of one row of pixels BGRA, with an alpha channel by its header (version 4) or without."""
    width = len(pixels) // 4
    header = struct.pack(
        "<IiiHHIIiiII", 108 if masks else 40, width, 1, 1, 32, 3 if masks else 0, len(pixels), 0, 0, 0, 0
    )
    header += struct.pack("<4I52x", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if masks else b""
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels


def test_an_alpha_channel_of_a_bmp_that_is_zero_everywhere_is_ignored():
    unused, used = b"\x01\x02\x03\0\xff\0\0\0", b"\x01\x02\x03\xff\xff\0\0\0"
    assert pixels(bmp(unused), 3, (1, 2))[0].tolist() == [[3, 2, 1], [0, 0, 255]]
    assert pixels(bmp(unused, masks=False), 3, (1, 2))[0].tolist() == [[3, 2, 1], [0, 0, 255]]
    assert pixels(bmp(used), 3, (1, 2))[0].tolist() == [[3, 2, 1], [255, 255, 255]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("value", [255, 250])
def test_what_would_vanish_on_white_is_blended_with_black(mode: str, value: int):
    alpha = np.zeros((4, 6), np.uint8)
    alpha[1:3, 2:4] = 255
    bands = [np.full((4, 6), value, np.uint8)] * (len(mode) - 1) + [alpha]
    contents = encode(Image.merge(mode, [Image.fromarray(band) for band in bands]))
    assert np.array_equal(pixels(contents, 1)[..., 0], np.where(alpha == 255, value, 0))


def test_an_image_without_content_becomes_white():
    assert (pixels(encode(np.full((4, 6, 4), (255, 255, 255, 0), np.uint8))) == 255).all()
    assert (pixels(encode(np.full((4, 6, 4), 255, np.uint8))) == 255).all()


def test_other_colour_spaces_are_converted_to_rgb():
    white = encode(Image.new("CMYK", (2, 2), (0, 0, 0, 0)), "TIFF")
    assert (pixels(white, 3, (2, 2)) == 255).all()
    assert probe(white).channels == 3
    lab = encode(Image.new("LAB", (2, 2), (255, 128, 128)), "TIFF")
    assert (pixels(lab, 3, (2, 2)) >= 254).all()
    assert (
        pixels(encode(Image.new("YCbCr", (2, 2), (90, 128, 128)), "TIFF"), 3, (2, 2)).tolist() == [[[90] * 3] * 2] * 2
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation: int, kind: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    contents = encode(COLOURS, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright = {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.swapaxes(0, 1),
        6: COLOURS.swapaxes(0, 1)[:, ::-1],
        7: COLOURS.swapaxes(0, 1)[::-1, ::-1],
        8: COLOURS.swapaxes(0, 1)[::-1],
    }[orientation]
    header = probe(contents)
    assert (header.height, header.width) == upright.shape[:2]
    assert np.array_equal(pixels(contents, size=upright.shape[:2]), upright)


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_invalid_orientation_is_ignored(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    contents = encode(COLOURS, exif=exif)
    assert (probe(contents).height, probe(contents).width) == (4, 6) and np.array_equal(pixels(contents), COLOURS)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_invalid_exif_is_ignored(exif: bytes):
    assert np.array_equal(pixels(encode(COLOURS, exif=exif)), COLOURS)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG", "MPO"])
def test_only_the_first_frame_is_used(kind: str):
    frames = [Image.new("L", (3, 3), value) for value in (0, 255, 255)]
    assert pixels(encode(frames[0], kind, save_all=True, append_images=frames[1:]), 1, (3, 3)).max() < 5


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
@pytest.mark.parametrize("target", [(5, 4), (1, 1)])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_extreme_sizes_and_aspect_ratios_are_resized_and_stay_visible(
    size: tuple[int, int], target: tuple[int, int], resize: str
):
    found = pixels(encode(np.full(size, 50, np.uint8)), 1, target, resize)
    assert set(found.ravel().tolist()) <= {0, 50} and found.any()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, transparency: int | None = None) -> bytes:
    """A PNG that Pillow cannot write; each of `rows` starts with a zero."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    hidden = b"" if transparency is None else chunk(b"tRNS", struct.pack(">H", transparency))
    return b"\x89PNG\r\n\x1a\n" + header + hidden + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(width: int, height: int, tags: dict[int, int], data: bytes) -> bytes:
    """A TIFF that Pillow cannot write: one grey strip, or one tile if `tags` says so."""
    tags = {256: width, 257: height, 259: 1, 262: 1, 273: 0, 277: 1, 278: height, 279: len(data), **tags}
    start = 8 + 2 + 12 * len(tags) + 4
    offset = 324 if 324 in tags else 273  # the tag of the offset of the data
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == offset else tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4) + data


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch):
    bomb = png(12_000, 12_000, 1, 0, bytes(1501 * 12_000))
    # Pillow allocates pixels outside of Python's memory, so tracemalloc does not see them.
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("memory for pixels"))
    monkeypatch.setattr(Image.core, "fill", lambda *_: pytest.fail("memory for pixels"))
    header = probe(bomb)
    assert (header.width, header.height, header.channels) == (12_000, 12_000, 1)
    with pytest.raises(Unusable, match="12,000 x 12,000 pixels, more than max_pixels = 10,000"):
        pixels(bomb)


def test_a_small_image_in_a_huge_tile_is_refused():
    tags = {258: 8, 259: 8, 322: 16_384, 323: 16_384, 324: 0, 325: 9}
    with pytest.raises(Unusable, match="268,435,456 pixels"):
        pixels(tiff(4, 4, tags, zlib.compress(bytes(9))))


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        (b"", "empty"),
        (b"just text", UNSUPPORTED),
        (b"PK\x03\x04 a zip", UNSUPPORTED),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UNSUPPORTED),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", UNSUPPORTED),  # Pillow would start Ghostscript
        (encode(COLOURS, "PPM"), UNSUPPORTED),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "AVIF"),
        (encode(COLOURS, "AVIF"), "AVIF"),
        (encode(COLOURS, "JPEG2000"), "JPEG 2000"),
        (encode(COLOURS, "JPEG2000", no_jp2=True), "JPEG 2000"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (bytes(128) + b"DICM", "DICOM"),
        (encode(np.zeros((40, 40, 3), np.uint8), "JPEG")[:-100], "truncated"),
        (encode(np.ones((2, 2), np.float32), "TIFF"), "floating-point"),
        (encode(np.array([[-1, 5]], np.int32), "TIFF"), "16 bits"),
        (encode(np.array([[0, 65536]], np.int32), "TIFF"), "16 bits"),
    ],
)
def test_an_unusable_file_is_reported_with_the_reason(contents: bytes, why: str):
    with pytest.raises(Unusable) as caught:
        pixels(contents)
    assert why in str(caught.value) and "\n" not in str(caught.value)


ANIMATED = encode(COLOURS, "GIF", save_all=True, append_images=[Image.fromarray(COLOURS[::-1])])
WHOLE = {kind: encode(COLOURS, kind) for kind in FORMATS} | {"grey": encode(GREYS), "animated": ANIMATED}


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(list(WHOLE)),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
def test_damaged_files_are_decoded_or_refused(kind: str, cut: float, flips: list[tuple[float, int]]):
    contents = bytearray(WHOLE[kind])
    for position, value in flips:
        contents[int(position * len(contents))] = value
    for damaged in (bytes(contents), bytes(contents[: int(cut * len(contents))])):
        try:
            header = probe(damaged)
            assert header.width > 0 and header.height > 0 and header.channels in (1, 3)
            pixels(damaged, 3, (5, 4), "crop")
        except Unusable as reason:
            assert "\n" not in str(reason)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(contents: bytes):
    with pytest.raises(Unusable):
        pixels(contents)


def test_a_webp_may_have_half_as_many_pixels():
    contents = encode(COLOURS, "WEBP", lossless=True)
    assert np.array_equal(pixels(contents, max_pixels=48), COLOURS)
    with pytest.raises(Unusable, match="max_pixels / 2 = 23"):
        pixels(contents, max_pixels=47)
