"""Read an image file: its header, and its pixels at the input size of a network.

Safe for untrusted files: only the decoders named here run, no pixel is decoded before the size in the header is found
to be within the limit, and any error becomes Unusable.
"""

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import (  # noqa: F401 - imported to register the decoders
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from darkroom.inputs import formats, libtiff, limits, repair

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
# `decode` has its own limit. Pillow's limit issues a warning, which cannot be caught in one thread alone.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")  # errors in a file are reported by Unusable
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Pillow's messages would reach the terminal
libtiff.silence()

# Pillow was observed to raise each of these for a broken file.
_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, AttributeError)
_ERRORS += (AssertionError, RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError)
_MODES_16 = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # 16-bit grey; Pillow opens some 16-bit PNGs in mode I


_Result = TypeVar("_Result")
_CONTRAST = 8  # grey levels: content with less of it vanishes


class Unusable(ValueError):
    """The file is not a usable image; the message says why in a few words."""


class _TooLarge(Unusable):
    """The file exceeds a limit."""


class _Incomplete(Unusable):
    """A JPEG has no end marker; its pixels may be whole."""


@dataclass(frozen=True)
class Header:
    """The header of an image file, read without decoding pixels."""

    format: str  # one of FORMATS, or MPO: a JPEG with several images, which some cameras write
    width: int  # pixels, after the EXIF orientation is applied
    height: int
    channels: int  # 1: grey, 3: RGB


def probe(contents: bytes) -> Header:
    """Read the header of an image file; raise Unusable if it is not an image."""
    return _read(contents, _header)


def _header(opened: Image.Image) -> Header:
    width, height = opened.size
    if _orientation(opened) >= 5:  # rotated by 90 degrees
        width, height = height, width
    return Header(opened.format or "", width, height, 1 if _is_grey(opened) else 3)


def decode(
    contents: bytes,
    size: tuple[int, int],
    channels: Literal[1, 3],
    resize: Literal["stretch", "crop", "pad"],
    max_pixels: int,
) -> np.ndarray:
    """Decode an image file to pixels (H, W, C) uint8 of `size` (height, width), grey or RGB.

    EXIF orientation is applied; only the first frame is used; transparent pixels are blended with white, or with black
    if all content would vanish on white; 16 bits are scaled to 8; grey is the ITU-R 601 luma. An image that already has
    the size keeps its pixels. Raises Unusable if the file cannot be decoded or has more than `max_pixels` pixels.
    """

    def flat(opened: Image.Image) -> Image.Image:
        """The image in mode L or RGB, upright."""
        _check_size(opened, max_pixels)
        if opened.format == "JPEG" and not repair.has_end(opened.fp.getvalue()):
            raise _Incomplete("it is truncated")
        upright = _ORIENTATIONS.get(_orientation(opened))
        found = _flattened(opened)
        return found.transpose(upright) if upright is not None else found

    try:
        found = _read(contents, flat)
    except _Incomplete:
        whole = repair.completed(contents)
        if whole is None:
            raise
        found = _read(whole, flat)
    return pixels(found, size, channels, resize)


def _check_size(opened: Image.Image, max_pixels: int) -> None:
    width, height = opened.size
    if width * height > max_pixels:
        raise _TooLarge(f"it has {width:,} x {height:,} pixels, more than max_pixels = {max_pixels:,}")
    tags = _tiff_tags(opened)
    tile = int(tags.get(TiffImagePlugin.TILEWIDTH, 0)) * int(tags.get(TiffImagePlugin.TILELENGTH, 0))
    if tile > max_pixels:  # libtiff holds a whole tile in memory
        raise _TooLarge(f"its tiles have {tile:,} pixels each, more than max_pixels = {max_pixels:,}")


def pixels(
    original: Image.Image, size: tuple[int, int], channels: Literal[1, 3], resize: Literal["stretch", "crop", "pad"]
) -> np.ndarray:
    """The pixels (H, W, C) uint8 of an image in mode L or RGB, resized to `size` (height, width); see `fit`."""
    return np.array(fit(original, size, resize).convert("L" if channels == 1 else "RGB")).reshape(*size, channels)


def fit(original: Image.Image, size: tuple[int, int], resize: Literal["stretch", "crop", "pad"]) -> Image.Image:
    """Resize an image, grey or RGB, to `size` (height, width): bilinear, antialiased.

    stretch: resize each side independently. crop: use the largest centred part with the aspect ratio of `size`. pad:
    keep the whole image and its aspect ratio, at least one pixel wide and high, centred on black.
    """
    height, width = size
    if original.size == (width, height):
        return original
    match resize:
        case "stretch":
            return original.resize((width, height), Image.Resampling.BILINEAR)
        case "crop":
            return ImageOps.fit(original, (width, height), Image.Resampling.BILINEAR)
        case "pad":
            inner_width = min(width, max(1, round(original.width / original.height * height)))
            inner_height = min(height, max(1, round(original.height / original.width * width)))
            padded = Image.new(original.mode, (width, height))  # ImageOps.pad loses an image thinner than one pixel
            inner = original.resize((inner_width, inner_height), Image.Resampling.BILINEAR)
            padded.paste(inner, (round((width - inner_width) / 2), round((height - inner_height) / 2)))
            return padded


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
    except (_Incomplete, _TooLarge):
        raise
    except Unusable as reason:
        failure = reason
    for repaired in repair.attempts(contents):
        try:
            with _opened(repaired) as opened:
                return use(opened)
        except (_Incomplete, _TooLarge):
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
            raise _TooLarge(excess)
        with Image.open(io.BytesIO(contents), formats=FORMATS) as opened:
            if 0 in opened.size:
                raise Unusable("it has no pixels")
            if excess := limits.side_excess(*opened.size):
                raise _TooLarge(excess)
            yield opened
    except Unusable:
        raise
    except Image.UnidentifiedImageError:
        raise Unusable(formats.why_unidentified(contents, FORMATS)) from None
    except _ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        truncated = "truncated" in reason.lower()
        raise Unusable("it is truncated" if truncated else f"it cannot be decoded ({reason})") from None


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


def _tiff_tags(opened: Image.Image) -> Mapping[int, Any]:
    return opened.tag_v2 if isinstance(opened, TiffImagePlugin.TiffImageFile) else {}


def _is_grey(opened: Image.Image) -> bool:
    return opened.mode in ("1", "L", "LA", "La", "F", *_MODES_16)


def _flattened(opened: Image.Image) -> Image.Image:
    """Decode the pixels and convert the image to mode L or RGB: 8 bits, without transparency."""
    if opened.mode in _MODES_16:
        return _scaled(opened)
    if opened.mode == "F":
        raise Unusable("its pixels are floating-point numbers of unknown scale: save it with 8 or 16 bits")
    if opened.has_transparency_data:
        layer = opened.convert("RGBA")
        least, most = layer.getchannel("A").getextrema()
        if opened.format == "BMP" and most == 0:  # most programs that write 32 bits leave the fourth byte unused
            return layer.convert("RGB")
        blended = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        darkest = min(low for low, _ in blended.getextrema()[:3])
        if darkest > 255 - _CONTRAST and most - least >= _CONTRAST:
            blended = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer)
        return blended.convert("L" if _is_grey(opened) else "RGB")
    return opened.convert("L" if _is_grey(opened) else "RGB")


def _scaled(opened: Image.Image) -> Image.Image:
    """Decode a grey image of 12 or 16 bits and scale its full range to mode L."""
    values, tags = np.asarray(opened), _tiff_tags(opened)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise Unusable("its pixels exceed 16 bits, so their scale is unknown: save it with 8 or 16 bits")
    grey = (values >> (4 if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,) else 8)).astype(np.uint8)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # 0 is white; Pillow handles this only up to 8 bits
        grey = 255 - grey
    return Image.fromarray(np.where(values == opened.info.get("transparency"), np.uint8(255), grey))
