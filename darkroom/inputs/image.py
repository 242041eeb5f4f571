"""Read an image file: its header, and its pixels at the input size of a network.

Safe for untrusted files: only the decoders named here run, no pixel is decoded before the size in the header is found
to be within the limit, and any error becomes Unusable.
"""

import io
import logging
import math
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from PIL import (  # noqa: F401 - imported to register the decoders
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from darkroom.inputs import colour, depth, flattening, formats, libtiff, limits, repair, resizing, tiff
from darkroom.inputs.resizing import Interpolation, Resize
from darkroom.inputs.unusable import TooLarge, Unusable

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
# `decode` has its own limit. Pillow's limit issues a warning, which cannot be caught in one thread alone.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")  # errors in a file are reported by Unusable
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Pillow's messages would reach the terminal
libtiff.silence()

# Pillow was observed to raise each of these for a broken file.
_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, AttributeError)
_ERRORS += (AssertionError, RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError)
_LARGE = 2**24  # pixels: of a larger image, no more than needed for the result is held in memory
_ONE_LARGE = threading.Lock()  # so that the memory for large images does not grow with the number of threads
_OVERSAMPLING = 4  # a large image is reduced to no less than this multiple of the result's sides before it is resized

_Result = TypeVar("_Result")


class _Incomplete(Unusable):
    """A JPEG has no end marker; its pixels may be whole."""

    def __init__(self, pixels: int):
        super().__init__("it is truncated")
        self.pixels = pixels  # by its header


@dataclass(frozen=True)
class Header:
    """The header of an image file, read without decoding pixels."""

    format: str  # one of FORMATS, or MPO: a JPEG with several images, which some cameras write
    width: int  # pixels, after the EXIF orientation is applied
    height: int
    channels: int  # 1: grey, 3: RGB
    bits: int  # per channel: 8, or 16 for 12 and 16
    remark: str  # what is ignored although it changes the pixels, or ""


def probe(contents: bytes) -> Header:
    """Read the header of an image file; raise Unusable if it is not an image."""
    return _read(contents, _header)


def _header(opened: Image.Image) -> Header:
    width, height = opened.size
    if _orientation(opened) >= 5:  # rotated by 90 degrees
        width, height = height, width
    channels = 1 if flattening.is_grey(opened) else 3
    remark = colour.remark(opened, flattening.profile_mode(opened))
    return Header(opened.format or "", width, height, channels, depth.bits(opened), remark)


def decode(
    contents: bytes,
    size: tuple[int, int],
    channels: Literal[1, 3],
    resize: Resize,
    max_pixels: int,
    intensity_range: tuple[int, int] | None = None,
    interpolation: Interpolation = "bilinear",
) -> np.ndarray:
    """Decode an image file to pixels (H, W, C) uint8 of `size` (height, width), grey or RGB.

    EXIF orientation is applied; only the first frame is used; transparent pixels are blended with white, or with black
    if all content would vanish on white; colours are converted to sRGB; values of more than 8 bits are scaled from
    `intensity_range`, their lowest and highest value, by default all 16 bits; grey is the ITU-R 601 luma. An image that
    already has the size keeps its pixels. Raises Unusable if the file cannot be decoded or has more than `max_pixels`
    pixels.
    """

    def flat(opened: Image.Image) -> Image.Image:
        """The image in mode L or RGB, upright."""
        _check_size(opened, max_pixels)
        if opened.format == "JPEG" and not repair.has_end(opened.fp.getvalue()):
            raise _Incomplete(math.prod(opened.size))
        upright = _ORIENTATIONS.get(_orientation(opened))
        with _bounded(opened, _OVERSAMPLING * max(size)) as factor:
            found = flattening.flattened(opened, opened.fp.getvalue(), intensity_range, factor)
        return found.transpose(upright) if upright is not None else found

    try:
        found = _read(contents, flat)
    except _Incomplete as reason:
        with _ONE_LARGE if reason.pixels > _LARGE else nullcontext():
            whole = repair.completed(contents)
        if whole is None:
            raise
        found = _read(whole, flat)
    return resizing.pixels(found, size, channels, resize, interpolation)


def count_values(contents: bytes, max_pixels: int) -> np.ndarray:
    """How often each value occurs in an image file of more than 8 bits per channel: (65536,) int64.

    12 bits are scaled to 16; see `darkroom/inputs/depth.py`. Raises Unusable like `decode`.
    """

    def counted(opened: Image.Image) -> np.ndarray:
        _check_size(opened, max_pixels)
        deep, counts = depth.Deep(opened, opened.fp.getvalue(), exact=True), np.zeros(2**16, np.int64)
        with _bounded(opened, 1):
            opened.load()
            for box in flattening.boxes(opened.size):
                counts += np.bincount(deep.values(box).reshape(-1), minlength=2**16)
        return counts

    return _read(contents, counted)


@contextmanager
def _bounded(opened: Image.Image, side: int) -> Iterator[int]:
    """Decode a large image alone; yields by how much to reduce its sides, to no less than `side` pixels.

    A large JPEG is decoded at a fraction of its size already.
    """
    if math.prod(opened.size) <= _LARGE:
        yield 1
        return
    if isinstance(opened, JpegImagePlugin.JpegImageFile):
        opened.draft(None, (side, side))
        if math.prod(opened.size) <= _LARGE and "progressive" not in opened.info:
            yield 1
            return
    with _ONE_LARGE:
        yield max(1, min(opened.size) // side)


def _check_size(opened: Image.Image, max_pixels: int) -> None:
    width, height = opened.size
    if width * height > max_pixels:
        raise TooLarge(f"it has {width:,} x {height:,} pixels, more than max_pixels = {max_pixels:,}")
    if opened.format == "WEBP" and 2 * width * height > max_pixels:  # its decoder takes 16 bytes per pixel, others 4
        raise TooLarge(
            f"it has {width:,} x {height:,} pixels, as a WebP more than max_pixels / 2 = {max_pixels // 2:,}"
        )
    tags = tiff.tags(opened)
    tile = int(tags.get(TiffImagePlugin.TILEWIDTH, 0)) * int(tags.get(TiffImagePlugin.TILELENGTH, 0))
    if tile > max_pixels:  # libtiff holds a whole tile in memory
        raise TooLarge(f"its tiles have {tile:,} pixels each, more than max_pixels = {max_pixels:,}")


_ORIENTATIONS = {  # EXIF orientation -> the transposition that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _read(contents: bytes, use: Callable[[Image.Image], _Result]) -> _Result:
    """Open an image and return `use(image)`; if that fails, try again without the metadata that may be the reason."""
    try:
        with _opened(contents) as opened:
            return use(opened)
    except (_Incomplete, TooLarge):
        raise
    except Unusable as reason:
        failure = reason
    for repaired in repair.attempts(contents):
        try:
            with _opened(repaired) as opened:
                return use(opened)
        except (_Incomplete, TooLarge):
            raise
        except Unusable:
            continue
    raise failure


@contextmanager
def _opened(contents: bytes) -> Iterator[Image.Image]:
    """Open an image and read its header only; any error in the `with` block becomes Unusable."""
    try:
        if not contents:
            raise Unusable("it is empty")
        if excess := limits.excess(contents):
            raise TooLarge(excess)
        with Image.open(io.BytesIO(contents), formats=FORMATS) as opened:
            if 0 in opened.size:
                raise Unusable("it has no pixels")
            if excess := limits.side_excess(*opened.size):
                raise TooLarge(excess)
            if unsupported := tiff.corrected(opened):
                raise Unusable(unsupported)
            yield opened
    except Unusable:
        raise
    except Image.UnidentifiedImageError:
        raise Unusable(formats.why_unidentified(contents, FORMATS)) from None
    except _ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "truncated" in reason.lower():
            raise Unusable("it is truncated") from None
        if reason.startswith("decoder error") and tiff.is_tiff(contents):  # of libtiff, which gives no reason
            raise Unusable(f"{tiff.UNSUPPORTED}, or it is damaged") from None
        raise Unusable(f"it cannot be decoded ({reason})") from None


def _orientation(opened: Image.Image) -> int:
    """The EXIF orientation that is not applied yet, 1 to 8; 1 if there is none or it cannot be read."""
    if opened.format == "TIFF":
        return 1  # Pillow applies the orientation of a TIFF itself
    try:
        exif = Image.Image.getexif(opened)  # the getexif of a PNG would decode its pixels
        value = int(exif.get(ExifTags.Base.Orientation, 1))
        return value if value in _ORIENTATIONS else 1
    except _ERRORS:
        return 1
